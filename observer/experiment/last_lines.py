# SPDX-License-Identifier: Apache-2.0
"""When a guest that is about to die said so, by the kernel's own trace.

Its last act is the end of a line on its second serial port, with its interrupts off
(`observer/guests/module/fault.c`).  Whoever reads that line reads it late, by a wake-up
on a host that may be busy just then: 50 ms where the host is emulated.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.experiment.event_trace import TRACING, event_trace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from observer.experiment.event_trace import TracePipe

__all__ = ["LastLines", "last_lines"]

EVENT, INSTANCE = "kvm/kvm_pio", "observer-last-lines"
COM2, LINE_FEED = 0x2F8, 0x0A
ONLY = f"rw == 1 && port == {COM2:#x} && val == {LINE_FEED:#x}"


class LastLines:
    """The ends of lines that guests wrote to their second serial ports."""

    def __init__(self, pipe: TracePipe) -> None:
        self._pipe = pipe

    def before(self, threads: Collection[int], ns: int) -> int | None:
        """The last one of these vCPUs before a moment; None if there is none."""
        ends = (e.ns for e in self._pipe.take() if e.thread in threads and e.ns <= ns)
        return max(ends, default=None)


@contextmanager
def last_lines(root: Path = TRACING) -> Iterator[LastLines]:
    """Trace them while the block runs; as `event_trace`."""
    with event_trace(INSTANCE, {EVENT: ONLY}, root) as pipe:
        yield LastLines(pipe)
