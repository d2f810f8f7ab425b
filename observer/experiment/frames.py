# SPDX-License-Identifier: Apache-2.0
"""When frames passed a guest's tap, by the kernel's own trace.

A counter that is read again and again tells it late, and nothing of the time before it
was read first.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.experiment.event_trace import TRACING, event_trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observer.experiment.event_trace import TracePipe

__all__ = ["FROM_GUEST", "TO_GUEST", "Frames", "frames"]

INSTANCE = "observer-frames"
FROM_GUEST, TO_GUEST = "net/netif_receive_skb", "net/net_dev_xmit"
"""What comes from a guest the host receives by its tap; it sends what goes to one."""


class Frames:
    """The frames of one tap that pass one way."""

    def __init__(self, pipe: TracePipe) -> None:
        self._pipe = pipe
        self._passed_ns: list[int] = []

    def passed_ns(self) -> list[int]:
        """When each did so far, CLOCK_MONOTONIC, in order."""
        self._passed_ns += [event.ns for event in self._pipe.take()]
        self._passed_ns.sort()  # each CPU has a trace of its own
        return self._passed_ns


@contextmanager
def frames(tap: str, way: str, root: Path = TRACING) -> Iterator[Frames]:
    """Trace them while the block runs; as `event_trace`."""
    with event_trace(INSTANCE, {way: f'name == "{tap}"'}, root) as pipe:
        yield Frames(pipe)
