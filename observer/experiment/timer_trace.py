# SPDX-License-Identifier: Apache-2.0
"""How long the callbacks of BPF timers ran, by the kernel's own trace.

While `bpf_stats` are on the kernel times its programs, but not what their timers call
(kernel/bpf/helpers.c, bpf_timer_cb).  Between the two events lies a part of the trace's
own work, so that this is rather too much than too little.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.experiment.event_trace import EVERY, TRACING, event_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from observer.experiment.event_trace import Event, TracePipe

__all__ = ["TimerTrace", "callbacks_ns", "timer_trace"]

INSTANCE, CALLBACK = "observer-timers", "bpf_timer_cb"
ENTRY, EXIT = "timer/hrtimer_expire_entry", "timer/hrtimer_expire_exit"
_ENTRY = re.compile(r"hrtimer=(\S+) function=(\w+)")
_EXIT = re.compile(r"hrtimer=(\S+)")


def callbacks_ns(events: Iterable[Event]) -> int:
    """The time between each entry of a BPF timer's callback and its exit."""
    began_ns: dict[str, int] = {}
    total_ns = 0
    for event in sorted(events, key=lambda e: e.ns):
        if entry := _ENTRY.match(event.words):
            if entry[2] == CALLBACK:
                began_ns[entry[1]] = event.ns
        elif (left := _EXIT.match(event.words)) and left[1] in began_ns:
            total_ns += event.ns - began_ns.pop(left[1])
    return total_ns


class TimerTrace:
    """All expiries of timers since it began."""

    def __init__(self, pipe: TracePipe) -> None:
        self._pipe = pipe

    def stop(self) -> None:
        """What expires from now on is left out."""
        self._pipe.stop()

    def ran_ns(self) -> int:
        """Of BPF timers, once stopped; ProgramError where the trace lost some."""
        found = callbacks_ns(self._pipe.take())
        if self._pipe.lost:
            raise ProgramError(
                f"The kernel's trace lost {self._pipe.lost:,} expiries of timers: time "
                "it for less long."
            )
        return found


@contextmanager
def timer_trace(root: Path = TRACING) -> Iterator[TimerTrace]:
    """Trace them while the block runs; as `event_trace`."""
    with event_trace(INSTANCE, {ENTRY: EVERY, EXIT: EVERY}, root) as pipe:
        yield TimerTrace(pipe)
