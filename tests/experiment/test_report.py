# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.demo.report import HostFacts
from observer.errors import UsageError
from observer.experiment.report import report_of
from observer.experiment.rows import Head, Row, RowFile, read_files, read_rows

if TYPE_CHECKING:
    from pathlib import Path

HOST = HostFacts(
    kernel="6.12",
    cpu="a CPU",
    cpus=2,
    accelerator="KVM",
    nested=False,
    observer="0",
    python="3.11",
    qemu="9",
    seed=1,
)
HEAD = Head("net-failure", HOST, 3, 10.0, {"fg": "resets"}, 0.1)


def row(design: str, fault: str, detection_ms: float | None, recovery_ms: float) -> Row:
    return Row(
        experiment="net-failure",
        round=0,
        design=design,
        fault=fault,
        subject="net",
        verdict="part-hung" if detection_ms else None,
        detected=detection_ms is not None,
        detection_ms=detection_ms,
        repaired=True,
        recovery_ms=recovery_ms,
        paid_ms=None,
        lost_packets=2,
        sent_packets=100,
        duplicated_packets=0,
        reordered_packets=0,
        salvaged=None,
        longest_gap_ms=1.0,
        tcp_survived=True,
        io_errors=None,
        verify_errors=None,
        two_writers=None,
        evidence="",
    )


ROWS = [
    *(row("fg", "nic-hang", ms, 90.0) for ms in (30.0, 20.0, 40.0)),
    *(row("tfd-xen-like", "nic-hang", ms, 150.0) for ms in (90.0, 120.0, 150.0)),
    *(row("cg", "vmm-crash", 5.0, 900.0) for _ in range(2)),
    *(row("linux-vm", "vmm-crash", 1.0, 9000.0) for _ in range(2)),
    row("none", "nic-hang", None, 6000.0),
]


def test_runs_of_a_design_and_a_fault_are_summed_up() -> None:
    """Medians of times, sums of counts, of few samples the largest for a tail."""
    (fg,) = (s for s in report_of([HEAD], ROWS).summaries if s.design == "fg")

    assert (fg.n, fg.detected, fg.repaired) == (3, 3, 3)
    assert (fg.detection_ms, fg.detection_p95_ms) == (30.0, 40.0)
    assert (fg.lost, fg.tcp_survived, fg.io_errors) == (6, 3, None)


def test_what_was_never_detected_has_no_time() -> None:
    """None, and not 0."""
    (none,) = (s for s in report_of([HEAD], ROWS).summaries if s.design == "none")

    assert (none.detected, none.detection_ms, none.detection_p95_ms) == (0, None, None)


def test_ratios_are_of_medians_and_judged_by_their_bars() -> None:
    """What was not measured is neither met nor missed."""
    ratios = {r.what: r for r in report_of([HEAD], ROWS).ratios}

    hang = ratios["detection of a hang, fg against tfd-xen-like"]
    assert (hang.ratio, hang.passed) == (4.0, True)
    linux = ratios["recovery of vmm-crash, cg against linux-vm"]
    assert (linux.ratio, linux.passed) == (10.0, True)
    phoenix = next(r for what, r in ratios.items() if "t_max" in what)
    assert (phoenix.ratio, phoenix.passed) == (133.33, True)
    spare = ratios["recovery of a crash, spare against cg"]
    assert (spare.ratio, spare.passed) == (None, None)


def test_no_rows_are_an_empty_report() -> None:
    """A run that was interrupted at once."""
    assert report_of([HEAD], []).summaries == []


def test_rows_are_read_back_and_one_cut_short_is_left_out(tmp_path: Path) -> None:
    """The file of a run that was killed as it wrote."""
    path = tmp_path / "rows.jsonl"
    file = RowFile(path, HEAD)
    for each in ROWS[:2]:
        file.append(each)
    with path.open("ab") as more:
        more.write(b'{"line":"row","exp')

    assert read_rows(path) == (HEAD, ROWS[:2])


def test_another_file_is_refused(tmp_path: Path) -> None:
    """By one sentence that names it."""
    path = tmp_path / "other"
    path.write_text("{}\n")
    with pytest.raises(UsageError, match="other is no file"):
        read_rows(path)


def test_two_sittings_are_one_experiment(tmp_path: Path) -> None:
    """Their rows are taken together; another experiment's are not."""
    first, second, other = (tmp_path / name for name in ("a", "b", "c"))
    heads = HEAD, HEAD, msgspec.structs.replace(HEAD, experiment="disk-failure")
    for path, head, row_ in zip((first, second, other), heads, ROWS, strict=False):
        RowFile(path, head).append(row_)

    assert read_files([first, second]) == ([HEAD, HEAD], ROWS[:2])
    with pytest.raises(UsageError, match=r"c is of disk-failure, .*a of net-failure"):
        read_files([first, other])
