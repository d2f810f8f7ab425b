# SPDX-License-Identifier: Apache-2.0
"""When a VM that was killed can do nothing any more: long before it is taken apart.

A thread that has begun to exit runs neither its guest nor its VMM again (do_exit in
kernel/exit.c); KVM, vhost and memory are taken apart after that, each waiting for RCU.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from observer.inventory.procfs import read_proc
from observer.inventory.task import TaskLook, look_at_task, tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["await_standstill", "vhost_kthreads"]

PAUSE_SECONDS = 0.001
IDLE = "S"


def vhost_kthreads(pid: int, proc: Path = Path("/proc")) -> tuple[int, ...]:
    """The kernel threads that do vhost's work for a VMM.

    Since 6.4 (f9010dbdce91, "fork, vhost: Use CLONE_THREAD") they are threads of its.
    """

    def named() -> Iterator[int]:
        for folder in proc.iterdir():
            if folder.name.isdecimal():
                try:
                    comm = read_proc(folder / "comm").strip()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if comm == f"vhost-{pid}":
                    yield int(folder.name)

    return tuple(sorted(named()))


def _runtime(look: TaskLook) -> int | None:
    """How long a worker has run; None while it has work."""
    if look.gone:
        return 0
    return look.runtime_ns if look.state == IDLE else None


def await_standstill(
    pid: int, kthreads: tuple[int, ...], seconds: float, proc: Path = Path("/proc")
) -> bool:
    """Wait until a VMM that was killed stands still; False if it does not in time.

    Its threads have begun to exit, so that nobody gives vhost work any more; and a
    worker that is no thread of its sleeps, and has slept since it was looked at last.
    Whoever asks holds what comes from outside.
    """
    deadline = time.monotonic() + seconds
    before: tuple[int | None, ...] | None = None
    folder = proc / str(pid) / "task"
    while True:
        if all(look_at_task(folder / str(tid)).gone for tid in tasks_of(proc, pid)):
            now = tuple(_runtime(look_at_task(proc / str(k))) for k in kthreads)
            if None not in now and (now == before or not kthreads):
                return True
            before = now
        if time.monotonic() >= deadline:
            return False
        time.sleep(PAUSE_SECONDS)
