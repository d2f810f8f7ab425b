# SPDX-License-Identifier: Apache-2.0
"""What the daemon takes while it watches quiet VMs: memory, wake-ups, CPU time."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS, SECOND
from observer.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DaemonCost",
    "Threads",
    "armed_seconds",
    "at_rest",
    "memory_mib",
    "wait_until_settled",
    "watch_quietly",
]

QUIET_SECONDS = 30.0
SETTLED_SECONDS = 3.0


class DaemonCost(msgspec.Struct, frozen=True):
    """The daemon beside quiet VMs."""

    vms: int
    seconds: float
    armed_s: float
    rss_mib: float
    peak_rss_mib: float
    wakeups: int
    wakeups_per_s: float
    cpu_ms: float
    threads: int


class Threads(msgspec.Struct, frozen=True):
    """Sums over a process's threads."""

    wakeups: int
    cpu_ns: int
    count: int


def armed_seconds(notes: str) -> float:
    """Seconds from imports done to armed, as the daemon says it."""
    match = re.search(r"^armed: in ([\d.]+) s", notes, re.MULTILINE)
    if not match:
        raise ProgramError("The daemon did not say that it was armed.")
    return float(match[1])


def memory_mib(status: str, key: str) -> float:
    """VmRSS or VmHWM of /proc/PID/status."""
    match = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    if not match:
        raise ProgramError(f"/proc/PID/status has no {key}: is the daemon gone?")
    return round(int(match[1]) / 1024, 1)


def threads_of(pid: int, proc: Path = Path("/proc")) -> Threads:
    """Voluntary context switches, each a wake-up to come, and time on a CPU."""
    wakeups = cpu_ns = count = 0
    for task in (proc / str(pid) / "task").iterdir():
        status = (task / "status").read_text()
        wakeups += int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
        cpu_ns += int((task / "schedstat").read_text().split()[0])
        count += 1
    return Threads(wakeups, cpu_ns, count)


def at_rest(before: Threads, after: Threads, seconds: float) -> bool:
    """Say whether it had little to do: a long computation has no wake-ups either."""
    wakeups, cpu_ns = after.wakeups - before.wakeups, after.cpu_ns - before.cpu_ns
    return wakeups < 10 * seconds and cpu_ns < seconds * SECOND / 50


def wait_until_settled(
    pid: int, deadline_s: float = 60.0, proc: Path = Path("/proc")
) -> None:
    """Return once the daemon had little to do for a while, or after the deadline."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        before = threads_of(pid, proc)
        time.sleep(SETTLED_SECONDS)
        if at_rest(before, threads_of(pid, proc), SETTLED_SECONDS):
            return


def watch_quietly(
    pid: int,
    vms: int,
    notes: Callable[[], str],
    seconds: float = QUIET_SECONDS,
    proc: Path = Path("/proc"),
) -> DaemonCost:
    """Look at the daemon before and after; the time between is what is measured."""
    before, began = threads_of(pid, proc), time.monotonic_ns()
    time.sleep(seconds)
    after, took = threads_of(pid, proc), time.monotonic_ns() - began
    status = (proc / str(pid) / "status").read_text()
    wakeups = after.wakeups - before.wakeups
    return DaemonCost(
        vms,
        round(took / SECOND, 1),
        armed_seconds(notes()),
        memory_mib(status, "VmRSS"),
        memory_mib(status, "VmHWM"),
        wakeups,
        round(wakeups * SECOND / took, 2),
        round((after.cpu_ns - before.cpu_ns) / MS, 1),
        after.count,
    )
