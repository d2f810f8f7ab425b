# SPDX-License-Identifier: Apache-2.0
"""Processes that take a CPU and give nothing, for a bounded time whatever happens."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from observer.guests.children import child
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from observer.guests.guest import Guest

__all__ = ["hog", "overload_host"]

LIMIT_SECONDS = 120
OVERSUBSCRIPTION = 3
START_SECONDS = 60.0
_BUSY = "yes"


@contextmanager
def hog(limit_seconds: int = LIMIT_SECONDS) -> Iterator[int]:
    """Keep a busy process running while the block does; give its process number.

    The kernel ends it after so much CPU time, even when we are kept from running.
    """
    argv = ["prlimit", f"--cpu={limit_seconds}", _BUSY]
    with child(argv, Path(os.devnull)) as process:
        # Until it writes it is being loaded, and waits for a disk instead of a CPU.
        wait_until(lambda: _written(process.pid) > 0, START_SECONDS, f"{_BUSY} ran")
        yield process.pid


def _written(pid: int) -> int:
    io = Path(f"/proc/{pid}/io").read_text()
    return int(io.partition("wchar: ")[2].split()[0])


def overload_host(_guest: Guest, stack: ExitStack) -> int:
    """Give every CPU of the host three busy processes."""
    effect_ns = time.monotonic_ns()
    for _ in range(OVERSUBSCRIPTION * len(os.sched_getaffinity(0))):
        stack.enter_context(hog())
    return effect_ns
