# SPDX-License-Identifier: Apache-2.0
"""What a design and what it observes take: CPU time, memory, wake-ups, VM exits."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.bench.programs import bpf_stats
from observer.bench.quiet import memory_mib
from observer.clock import MS, SECOND
from observer.errors import ProgramError
from observer.experiment.timer_trace import timer_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from observer.guests.guest import Guest

__all__ = [
    "KERNEL",
    "Cost",
    "Taken",
    "cpu_ns_of",
    "design_processes",
    "family_of",
    "guest_processes",
    "kvm_counter",
    "measured",
    "taken_by",
]

PROC = Path("/proc")
KVM_DEBUG = Path("/sys/kernel/debug/kvm")
RESPONDER = "qemu-system"
"""A VM that the design itself runs, as /proc/PID/comm begins."""
KERNEL = "kernel"
"""The role of the BPF programs that a design has."""


class Taken(msgspec.Struct, frozen=True):
    """Sums over a process's threads since their start."""

    cpu_ns: int = 0
    wakeups: int = 0
    """Times that one waited by itself: it was woken afterwards."""
    preempted: int = 0
    rss_mib: float = 0.0


class Cost(msgspec.Struct, frozen=True):
    """What one process took in a phase; a row of the run's table."""

    role: str
    vm: str
    phase: str
    seconds: float
    cpu_ms: float | None = None
    rss_mib: float | None = None
    wakeups: int | None = None
    preempted: int | None = None
    exits: int | None = None


def _switches(status: str, key: str) -> int:
    return int(status.rpartition(f"\n{key}:")[2].split()[0])


def taken_by(pid: int, proc: Path = PROC) -> Taken:
    """What a process took so far, all its threads that still live; none: nothing."""
    total = Taken()
    try:
        rss_mib = memory_mib((proc / str(pid) / "status").read_text(), "VmRSS")
        tasks = list((proc / str(pid) / "task").iterdir())
    except (OSError, ProgramError):
        return total
    for task in tasks:
        with suppress(OSError):  # a thread that has just ended
            status = (task / "status").read_text()
            total = Taken(
                total.cpu_ns + int((task / "schedstat").read_text().split()[0]),
                total.wakeups + _switches(status, "voluntary_ctxt_switches"),
                total.preempted + _switches(status, "nonvoluntary_ctxt_switches"),
                rss_mib,
            )
    return total


def family_of(pid: int, proc: Path = PROC) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in (proc / str(parent) / "task").glob("*/children"):
            with suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found


def _role(pid: int, proc: Path) -> str:
    with suppress(OSError):
        if (proc / str(pid) / "comm").read_text().startswith(RESPONDER):
            return "responder"
    return "observer"


def design_processes(pid: int | None, proc: Path = PROC) -> dict[int, tuple[str, str]]:
    """Role and VM of each process that a design consists of; none: nobody watches."""
    return {p: (_role(p, proc), "") for p in family_of(pid, proc)} if pid else {}


def guest_processes(guests: Iterable[Guest]) -> dict[int, tuple[str, str]]:
    """Likewise of those that run guests."""
    found: dict[int, tuple[str, str]] = {}
    for guest in guests:
        found[guest.pid] = "vmm", guest.name
        found[guest.disk_pid] = "back-end", guest.name
    return found


def cpu_ns_of(pid: int, proc: Path = PROC) -> int:
    """CPU time of a process and all that descend from it, whose threads still run."""
    return sum(taken_by(each, proc).cpu_ns for each in family_of(pid, proc))


def kvm_counter(pid: int, name: str, root: Path = KVM_DEBUG) -> int:
    """KVM's own count over all vCPUs of a VM, from debugfs."""
    folders = list(root.glob(f"{pid}-*"))
    if len(folders) != 1:
        raise ProgramError(
            f"{root} tells nothing of process {pid}: mount debugfs, and see whether "
            "the VM still runs."
        )
    return int((folders[0] / name).read_text())


def _exits() -> int:
    return int((KVM_DEBUG / "exits").read_text())


def measured(
    phase: str,
    who: Mapping[int, tuple[str, str]],
    seconds: float,
    bpf_ns: Callable[[], int] | None = None,
) -> list[Cost]:
    """Let a phase pass; what each process took in it, and the exits of all guests.

    With `bpf_ns`, the run time of the design's own BPF programs, the kernel times
    these meanwhile, and what their timers call is timed too.
    """
    if bpf_ns is None:
        return _passed(phase, who, seconds)
    with bpf_stats():
        before_ns = bpf_ns()
        with timer_trace() as timers:
            rows = _passed(phase, who, seconds)
            timers.stop()  # what is traced takes long to read
            programs_ns = bpf_ns() - before_ns
            ran_ms = round((programs_ns + timers.ran_ns()) / MS, 3)
    took_s = rows[-1].seconds
    return [*rows, Cost(KERNEL, "", phase, took_s, cpu_ms=ran_ms)]


def _passed(
    phase: str, who: Mapping[int, tuple[str, str]], seconds: float
) -> list[Cost]:
    before = {pid: taken_by(pid) for pid in who}
    exits, began_ns = _exits(), time.monotonic_ns()
    time.sleep(seconds)
    after = {pid: taken_by(pid) for pid in who}
    took_s = round((time.monotonic_ns() - began_ns) / SECOND, 3)
    rows = [
        Cost(
            role,
            vm,
            phase,
            took_s,
            round(max(0, after[pid].cpu_ns - before[pid].cpu_ns) / MS, 3),
            after[pid].rss_mib,
            after[pid].wakeups - before[pid].wakeups,
            after[pid].preempted - before[pid].preempted,
        )
        for pid, (role, vm) in who.items()
    ]
    return [*rows, Cost("host", "", phase, took_s, exits=_exits() - exits)]
