# SPDX-License-Identifier: Apache-2.0
"""Rows of net-failure are summed up file by file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from synthetic_runs import HOST

from observer.analysis.recovery import by_fault, frame_of, read_sittings
from observer.experiment.rows import Head, Row, RowFile

if TYPE_CHECKING:
    from pathlib import Path

ROW = Row(
    experiment="net-failure",
    round=0,
    design="spare",
    fault="nic-hang",
    subject="net/nic",
    verdict="part-hung",
    detected=True,
    detection_ms=20.0,
    repaired=True,
    recovery_ms=100.0,
    paid_ms=None,
    lost_packets=0,
    sent_packets=500,
    duplicated_packets=0,
    reordered_packets=0,
    salvaged=None,
    longest_gap_ms=None,
    tcp_survived=True,
    io_errors=None,
    verify_errors=None,
    two_writers=None,
    evidence="",
)


def test_rounds_are_summed_up_and_what_is_no_such_file_is_told(tmp_path: Path) -> None:
    """One that never flowed again has no recovery, and is not mended."""
    file = RowFile(
        tmp_path / "net-failure-1.jsonl", Head("net-failure", HOST, 1, 10.0, {}, 0.0)
    )
    file.append(ROW)
    file.append(msgspec.structs.replace(ROW, recovery_ms=300.0, lost_packets=7))
    file.append(msgspec.structs.replace(ROW, recovery_ms=None, repaired=False))
    (tmp_path / "other.jsonl").write_text("{}\n")
    sittings, notes = read_sittings([tmp_path])
    (found,) = by_fault(frame_of(sittings))

    assert (found["rounds"], found["repaired"]) == (3, 2)
    assert found["recovery_ms"].middle == 200.0
    assert (found["lost"], found["sent"]) == (7, 1500)
    assert len(notes) == 1
    assert "other.jsonl" in notes[0]


def test_no_files_are_no_rows(tmp_path: Path) -> None:
    """And no section."""
    sittings, notes = read_sittings([tmp_path])

    assert frame_of(sittings).empty
    assert notes == []
