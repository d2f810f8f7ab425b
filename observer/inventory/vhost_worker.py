# SPDX-License-Identifier: Apache-2.0
"""Finds the threads that do a VM's vhost work."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from observer.inventory.procfs import read_proc

__all__ = ["vhost_workers"]

PROC = Path("/proc")


def vhost_workers(pid: int, proc: Path = PROC) -> list[int]:
    """Return the threads that do a VM's vhost work.

    Since Linux commit 6e890c5d5021 ("vhost: use vhost_tasks for worker threads") (in
    v6.4) they are threads of the VMM, before they were the kernel's own.
    """
    name = f"vhost-{pid}\n"
    threads = [*proc.glob(f"{pid}/task/*/comm"), *proc.glob("[0-9]*/comm")]
    return sorted({int(t.parent.name) for t in threads if _comm(t) == name})


def _comm(path: Path) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):  # ended while we looked
        return read_proc(path)
    return ""
