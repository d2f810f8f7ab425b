# SPDX-License-Identifier: Apache-2.0
"""A vhost worker that is ready to run and never gets a CPU.

The worker is bound to one CPU, which a real-time busy loop then takes for itself. The
kernel's two guards against just that are lifted meanwhile: real-time throttling and,
since Linux commit 557a6bfc662c ("sched/fair: Add trivial fair server") (in v6.12), the
deadline server that lets ordinary tasks run for 50 ms a second.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from observer.clock import SECOND
from observer.errors import DeadlineError, HostError, UsageError
from observer.guests.waiting import wait_until
from observer.inject.hogs import hog
from observer.inventory.task import look_at_task
from observer.inventory.vhost_worker import vhost_workers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import ExitStack

    from observer.guests.guest import Guest

__all__ = ["starve_backend"]

PROC = Path("/proc")
LIMIT_SECONDS = 15
"""Well below the 21 s after which the kernel itself complains about the CPU."""
PRIORITY = 50
LOOK_SECONDS = 0.001
FLOW_SECONDS = 20.0
FLOW_FRAMES = 50  # so that the next kick is never far


def _bind(thread: int, cpus: Iterable[int], stack: ExitStack) -> None:
    before = os.sched_getaffinity(thread)
    os.sched_setaffinity(thread, cpus)
    stack.callback(_restore_affinity, thread, before)


def _restore_affinity(thread: int, before: set[int]) -> None:
    try:
        os.sched_setaffinity(thread, before)
    except ProcessLookupError:
        return  # gone with its VM


def _write(path: Path, value: str, stack: ExitStack) -> None:
    before = path.read_text()
    path.write_text(value)
    stack.callback(path.write_text, before)


def _lift_guards(cpu: int, stack: ExitStack) -> None:
    _write(PROC / "sys/kernel/sched_rt_runtime_us", "-1", stack)
    server = Path(f"/sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime")
    if server.exists():
        _write(server, "0", stack)


def _frames_sent(tap: str) -> int:
    """Frames that a guest sent: a tap receives them."""
    return int(Path(f"/sys/class/net/{tap}/statistics/rx_packets").read_text())


def _ready_since_ns(workers: list[int]) -> int:
    """Wait until a worker is ready to run, which one without work is not.

    The moment before the last look that found none: the fault began then or later.
    """
    before_ns = time.monotonic_ns()
    deadline_ns = before_ns + LIMIT_SECONDS * SECOND
    while True:
        now_ns = time.monotonic_ns()
        if any(look_at_task(PROC / str(worker)).state == "R" for worker in workers):
            return before_ns
        if now_ns > deadline_ns:
            raise DeadlineError(f"No worker had work within {LIMIT_SECONDS} s.")
        before_ns = now_ns
        time.sleep(LOOK_SECONDS)


def starve_backend(guest: Guest, stack: ExitStack) -> int:
    """Take the CPU from the worker of the guest's network while the guest sends."""
    cpu, *others = sorted(os.sched_getaffinity(0), reverse=True)
    workers = vhost_workers(guest.pid)
    if not others:
        raise UsageError(
            "A worker can be starved only on a host with two CPUs or more."
        )
    if not workers:
        raise HostError(
            f"{guest.name} has no vhost worker; load vhost_net, start again."
        )
    guest.order("busy net")
    stack.callback(guest.order, "idle")
    flowing = _frames_sent(guest.tap) + FLOW_FRAMES
    wait_until(
        lambda: _frames_sent(guest.tap) > flowing,
        FLOW_SECONDS,
        f"{guest.name} sent frames",
    )
    # Only the worker shall starve, neither its VMM nor we.
    tasks = {int(t.name) for t in (PROC / str(guest.pid) / "task").iterdir()}
    for thread in (tasks | {0}) - set(workers):
        _bind(thread, others, stack)
    for worker in workers:
        _bind(worker, [cpu], stack)
    _lift_guards(cpu, stack)
    greedy = stack.enter_context(hog(LIMIT_SECONDS))
    os.sched_setaffinity(greedy, [cpu])
    os.sched_setscheduler(greedy, os.SCHED_FIFO, os.sched_param(PRIORITY))
    return _ready_since_ns(workers)
