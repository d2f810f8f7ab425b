# SPDX-License-Identifier: Apache-2.0
"""Hypercalls as the kernel's own trace has them: who made which, and when.

KVM's tracepoint `kvm:kvm_hypercall` (arch/x86/kvm/trace.h) comes before KVM looks at
who asks, so a guest's programs are heard as its kernel is.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from observer.experiment.event_trace import TRACING, TracePipe, event_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from observer.experiment.event_trace import Event

__all__ = ["Hypercall", "HypercallTrace", "hypercall_trace", "hypercalls_among"]

EVENT = "kvm/kvm_hypercall"
_WORDS = re.compile(
    r"nr 0x([0-9a-f]+)"
    r" a0 0x([0-9a-f]+) a1 0x([0-9a-f]+) a2 0x([0-9a-f]+) a3 0x([0-9a-f]+)"
)


class Hypercall(msgspec.Struct, frozen=True):
    """One that a guest made; `thread` is its vCPU's, by the host's number."""

    thread: int
    ns: int
    number: int
    arguments: tuple[int, int, int, int]


def hypercalls_among(events: Sequence[Event]) -> list[Hypercall]:
    """Those events that are hypercalls."""
    found = []
    for event in events:
        said = _WORDS.fullmatch(event.words)
        if event.name == "kvm_hypercall" and said:
            number, a0, a1, a2, a3 = (int(word, 16) for word in said.groups())
            found.append(Hypercall(event.thread, event.ns, number, (a0, a1, a2, a3)))
    return found


class HypercallTrace:
    """A trace of hypercalls, read without waiting."""

    def __init__(self, pipe: TracePipe) -> None:
        self._pipe = pipe

    def fileno(self) -> int:
        """To wait on: readable when something was traced."""
        return self._pipe.fileno()

    def take(self) -> list[Hypercall]:
        """Those that were traced since the last time; none twice."""
        return hypercalls_among(self._pipe.take())


@contextmanager
def hypercall_trace(
    instance: str, number: int, root: Path = TRACING
) -> Iterator[HypercallTrace]:
    """Trace one hypercall while the block runs; as `event_trace`."""
    with event_trace(instance, {EVENT: f"nr == {number:#x}"}, root) as pipe:
        yield HypercallTrace(pipe)
