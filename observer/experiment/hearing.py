# SPDX-License-Identifier: Apache-2.0
"""Hears what an observer inside of a guest reports, and says it as a verdict.

A report is a hypercall; the kernel's trace names the thread that left its guest for it,
and the VMM that has this thread among its own is the guest's.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_verdict,
    say_watched,
)
from observer.experiment.hypercall_trace import hypercall_trace
from observer.guests import guest as guests
from observer.guests.launch import Files
from observer.inventory.procfs import read_proc
from observer.inventory.task import tasks_of
from observer.model import VerdictKind
from observer.services import folder as services
from observer.services.abi import Abi
from observer.services.record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from observer.experiment.hypercall_trace import Hypercall

__all__ = ["Owners", "Report", "guests_up", "hear", "meaning_of", "services_up"]

LOOK_SECONDS = 0.9  # at least every second
PRIORITY = 1  # the observer's
PROC = Path("/proc")
PART_BITS = 8  # guest_abi.h: service << 8 | part


class Report(msgspec.Struct, frozen=True):
    """What a guest says of itself, in the words of a verdict."""

    kind: VerdictKind
    subject: str | None
    since_ns: int
    evidence: str


def meaning_of(call: Hypercall, abi: Abi) -> Report | None:
    """What a report means; None for one that nobody knows."""
    what, which, age_ms, _ = call.arguments
    said = f"it reported from within that {{}} for {age_ms} ms"
    part = abi.part_name(which >> PART_BITS, which & ((1 << PART_BITS) - 1))
    known = {
        abi["REPORT_PANIC"]: (
            VerdictKind.SERVICE_CRASHED,
            None,
            "it reported from within that it panics",
        ),
        abi["REPORT_VCPU"]: (
            VerdictKind.VCPU_HUNG,
            f"vcpu{which}",
            said.format(f"vCPU {which} ran none of its threads"),
        ),
        abi["REPORT_DISK"]: (
            VerdictKind.BACKEND_HUNG,
            "disk",
            said.format("its disk answered no read"),
        ),
        abi["REPORT_NET"]: (
            VerdictKind.BACKEND_HUNG,
            "net",
            said.format("no ping of its host was answered"),
        ),
        abi["REPORT_PART"]: (
            VerdictKind.PART_HUNG,
            part,
            said.format(f"its part {part} owed work and did none"),
        ),
    }
    if what not in known:
        return None
    kind, subject, evidence = known[what]
    return Report(kind, subject, call.ns - age_ms * MS, evidence)


class Owners:
    """Which VM has which threads."""

    def __init__(self, vms: Callable[[], dict[str, int]], proc: Path = PROC) -> None:
        self._vms, self._proc = vms, proc
        self._pids: dict[str, int] = {}
        self._threads: dict[int, str] = {}

    def look(self) -> list[tuple[str, int]]:
        """Look who is up; those that came since, with their VMMs."""
        before, self._pids = self._pids, self._vms()
        if self._pids != before:
            self._threads = {
                thread: name
                for name, pid in self._pids.items()
                for thread in tasks_of(self._proc, pid)
            }
        return sorted(self._pids.items() - before.items())

    def _living_owner(self, thread: int) -> str | None:
        task = f"task/{thread}"
        pids = self._pids.items()
        return next((n for n, p in pids if (self._proc / str(p) / task).exists()), None)

    def of(self, thread: int) -> str | None:
        """The VM that has a thread, or had it when it was last looked at.

        A VMM may end right after its guest said that it will.
        """
        return self._living_owner(thread) or self._threads.get(thread)


def _is_of(pid: int, folder: Path) -> bool:
    """Whether a process was started with a file of that folder."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return f"{folder}/" in read_proc(PROC / str(pid) / "cmdline")
    return False


def guests_up(runtime: Path = guests.RUNTIME) -> dict[str, int]:
    """Our Linux guests and their VMMs, each surely its own."""
    found = {}
    for name in guests.guest_names(runtime):
        files = Files(runtime / name)
        with suppress(FileNotFoundError, ValueError):  # it comes or goes just now
            if _is_of(pid := int(read_proc(files.pid)), files.folder):
                found[name] = pid
    return found


def services_up(runtime: Path = services.RUNTIME) -> dict[str, int]:
    """Our service VMs likewise, by what their keepers left word of."""
    found = {}
    for path in runtime.glob("*/service.json"):
        record = read_record(services.ServiceFolder(path.parent))
        if record and record.pid and _is_of(record.pid, path.parent):
            found[record.name] = record.pid
    return found


def _look(owners: Owners) -> None:
    for vm, pid in owners.look():
        say_watched(vm, pid)


def _say(call: Hypercall, owners: Owners, abi: Abi) -> None:
    report = meaning_of(call, abi)
    if report is None:
        return
    vm = owners.of(call.thread)
    if vm is None:  # just started, or not ours
        _look(owners)
        vm = owners.of(call.thread)
    if vm is not None:
        say_verdict(
            vm, report.kind, report.since_ns, report.evidence, subject=report.subject
        )


def hear(instance: str, vms: Callable[[], dict[str, int]]) -> None:
    """Say all that these VMs report, until we are to end.

    Who reports says a failure once, and anew only after it was well again.
    """
    ends_on_sigterm()
    began, abi, owners = time.monotonic(), Abi.of_header(), Owners(vms)
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    with hypercall_trace(instance, abi["HYPERCALL_REPORT"]) as trace:
        say_armed(time.monotonic() - began)
        while True:
            _look(owners)
            select.select([trace], [], [], LOOK_SECONDS)
            for call in trace.take():
                _say(call, owners, abi)
