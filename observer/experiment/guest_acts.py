# SPDX-License-Identifier: Apache-2.0
"""When a guest did what breaks it, by the kernel's own trace.

`observer/guests/module/fault.c` writes to the second serial port as it breaks the
guest, with its interrupts off: one that is about to die ends its line, and one that
loses a kick or a call marks the port's scratch register.  Whoever reads that line reads
it late, by a wake-up on a host that may be busy just then: 50 ms where the host is
emulated.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.experiment.event_trace import TRACING, event_trace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from observer.experiment.event_trace import TracePipe

__all__ = ["LAST_LINE", "LOSS", "GuestActs", "guest_acts"]

EVENT, INSTANCE = "kvm/kvm_pio", "observer-guest-acts"
COM2, SCRATCH, LINE_FEED = 0x2F8, 7, 0x0A
LAST_LINE = f"rw == 1 && port == {COM2:#x} && val == {LINE_FEED:#x}"
LOSS = f"rw == 1 && port == {COM2 + SCRATCH:#x}"


class GuestActs:
    """Acts of guests of one kind, since the trace began."""

    def __init__(self, pipe: TracePipe) -> None:
        self._pipe = pipe

    def last(self, threads: Collection[int], until_ns: int) -> int | None:
        """The last one of these vCPUs up to a moment; None if no more was traced."""
        acts = (e.ns for e in self._pipe.take() if e.thread in threads)
        return max((ns for ns in acts if ns <= until_ns), default=None)


@contextmanager
def guest_acts(only: str, root: Path = TRACING) -> Iterator[GuestActs]:
    """Trace one kind while the block runs; as `event_trace`."""
    with event_trace(INSTANCE, {EVENT: only}, root) as pipe:
        yield GuestActs(pipe)
