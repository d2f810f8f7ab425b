# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.clock import MS, SECOND
from observer.experiment.hearing import Owners, guests_up, meaning_of, services_up
from observer.experiment.hypercall_trace import Hypercall
from observer.model import VerdictKind
from observer.services.abi import Abi
from observer.services.images import Port, ServiceSpec
from observer.services.record import Record

if TYPE_CHECKING:
    from pathlib import Path

ABI = Abi.of_header()
NOW_NS = 5 * SECOND


def said(what: str, which: int = 0, age_ms: int = 120) -> Hypercall:
    arguments = (ABI[f"REPORT_{what}"], which, age_ms, 0)
    return Hypercall(7, NOW_NS, ABI["HYPERCALL_REPORT"], arguments)


@pytest.mark.parametrize(
    ("call", "kind", "subject"),
    [
        (said("VCPU", 1), VerdictKind.VCPU_HUNG, "vcpu1"),
        (said("DISK"), VerdictKind.BACKEND_HUNG, "disk"),
        (said("NET"), VerdictKind.BACKEND_HUNG, "net"),
        (
            said("PART", ABI["SERVICE_NET"] << 8 | ABI["NET_NETBACK"]),
            VerdictKind.PART_HUNG,
            "netback",
        ),
        (said("PANIC", age_ms=0), VerdictKind.SERVICE_CRASHED, None),
    ],
)
def test_a_report_has_its_meaning(
    call: Hypercall, kind: VerdictKind, subject: str | None
) -> None:
    """It began as long before as the guest says."""
    report = meaning_of(call, ABI)

    assert report is not None
    assert (report.kind, report.subject) == (kind, subject)
    assert report.since_ns == NOW_NS - call.arguments[2] * MS
    assert report.evidence.startswith("it reported from within that ")
    assert "{" not in report.evidence


def test_what_nobody_knows_means_nothing() -> None:
    """A guest may say what it likes."""
    call = Hypercall(7, NOW_NS, ABI["HYPERCALL_REPORT"], (2**64 - 1,) * 4)

    assert meaning_of(call, ABI) is None


def make_task(proc: Path, pid: int, *threads: int) -> None:
    for thread in threads:
        (proc / str(pid) / "task" / str(thread)).mkdir(parents=True)


def test_a_thread_is_its_vmms(tmp_path: Path) -> None:
    """Of each that is up; of one that just ended, too; nobody's else."""
    make_task(tmp_path, 10, 10, 11)
    make_task(tmp_path, 20, 20, 21)
    up = {"a": 10, "b": 20}
    owners = Owners(lambda: dict(up), tmp_path)
    assert owners.of(11) is None
    assert owners.look() == [("a", 10), ("b", 20)]
    assert owners.look() == []

    assert [owners.of(thread) for thread in (11, 21, 30)] == ["a", "b", None]

    (tmp_path / "20/task/21").rmdir()
    assert owners.of(21) == "b"
    make_task(tmp_path, 10, 21)
    assert owners.of(21) == "a"

    make_task(tmp_path, 30, 30, 31)
    up["b"] = 30
    assert owners.look() == [("b", 30)]
    assert owners.of(31) == "b"


def test_nobody_is_up(tmp_path: Path) -> None:
    """Neither guests nor services; a record of a process that is another's is none."""
    spec = ServiceSpec("net.elf", (Port("tap", "bridge"),))
    (tmp_path / "net").mkdir()
    record = msgspec.json.encode(Record("net", 1, 1, 1, spec))
    (tmp_path / "net/service.json").write_bytes(record)

    assert guests_up(tmp_path) == {}
    assert services_up(tmp_path) == {}
