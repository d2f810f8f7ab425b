# SPDX-License-Identifier: Apache-2.0
"""Processes that take a CPU and give nothing, for a bounded time whatever happens."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.guests.children import child
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from observer.guests.guest import Guest

__all__ = ["hog", "overload_host"]

LIMIT_SECONDS = 120
OVERSUBSCRIPTION = 3
START_SECONDS = 60.0

# The alarm ends it even when whoever started it is itself kept from running.
_PROGRAM = "import signal; signal.alarm({limit}); print(flush=True)\nwhile True: pass"


@contextmanager
def hog(log: Path, limit_seconds: int = LIMIT_SECONDS) -> Iterator[int]:
    """Keep a busy loop running while the block does; give its process number."""
    program = _PROGRAM.format(limit=limit_seconds)
    log.unlink(missing_ok=True)
    with child([sys.executable, "-I", "-S", "-c", program], log) as process:
        wait_until(lambda: log.stat().st_size > 0, START_SECONDS, "a busy loop ran")
        yield process.pid


def overload_host(guest: Guest, stack: ExitStack) -> int:
    """Give every CPU of the host three busy processes more than it can run."""
    effect_ns = time.monotonic_ns()
    for number in range(OVERSUBSCRIPTION * len(os.sched_getaffinity(0))):
        stack.enter_context(hog(guest.files.folder / f"hog-{number}.log"))
    return effect_ns
