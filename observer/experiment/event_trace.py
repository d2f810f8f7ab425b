# SPDX-License-Identifier: Apache-2.0
"""Events of the kernel's own trace, read as they come: who, when, and their words.

None of our BPF has a part in it, so what it tells is a witness of what ours tells.
"""

from __future__ import annotations

import os
import re
import select
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["EVERY", "TRACING", "US", "Event", "TracePipe", "event_trace", "events_in"]

TRACING = Path("/sys/kernel/tracing")
US = 1000
EVERY = "0"
"""The filter of an event of which none is left out."""
READ_BYTES = 1 << 16
NO_SWITCH = Path(os.devnull)
# Documentation/trace/ftrace.rst: the thread, seconds with six digits, then the event's
# own words.  A thread's name may have anything in it, but its number ends at the CPU's.
_LINE = re.compile(
    r"-(\d+)\s+\[\d+\]\s\S+\s+(\d+)\.(\d{6}): (\w+): (.*)$", re.MULTILINE
)
_LOST = re.compile(r"^CPU:\d+ \[LOST (\d+) EVENTS\]$", re.MULTILINE)


class Event(msgspec.Struct, frozen=True):
    """One that a thread met, by the host's number; to the microsecond, cut off."""

    thread: int
    ns: int
    name: str
    words: str


def events_in(text: str) -> list[Event]:
    """All of them in whole lines of a trace."""
    return [
        Event(int(thread), (int(seconds) * 1_000_000 + int(micros)) * US, name, words)
        for thread, seconds, micros, name, words in _LINE.findall(text)
    ]


class TracePipe:
    """A trace pipe that does not block."""

    def __init__(self, fd: int, switch: Path = NO_SWITCH) -> None:
        """`switch` is the file that turns the trace off."""
        self._fd, self._switch, self._text = fd, switch, ""
        self.lost = 0
        """Events for which there was no room until they were read."""

    def fileno(self) -> int:
        """To wait on: readable when something was traced."""
        return self._fd

    def stop(self) -> None:
        """Trace no more: who reads more slowly than is traced would never be done."""
        self._switch.write_text("0")

    def take(self) -> list[Event]:
        """Those that were traced since the last time; none twice."""
        while select.select([self._fd], [], [], 0)[0]:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._text += data.decode(errors="replace")
        whole, _, self._text = self._text.rpartition("\n")
        self.lost += sum(map(int, _LOST.findall(whole)))
        return events_in(f"{whole}\n")


@contextmanager
def event_trace(
    instance: str, events: Mapping[str, str], root: Path = TRACING
) -> Iterator[TracePipe]:
    """Trace events while the block runs, in an instance that is ours alone.

    Each has a filter; `EVERY` lets all pass.  It needs root, and for one of KVM's, KVM.
    """
    folder = root / "instances" / instance
    try:
        folder.mkdir(exist_ok=True)
    except OSError as e:
        raise HostError(
            f"{folder} cannot be made ({e.strerror}), so no "
            f"{' or '.join(events)} is seen: run as "
            f"root, and mount tracefs (mount -t tracefs tracefs {root})."
        ) from e
    try:
        (folder / "trace_clock").write_text("mono")
        for event, only in events.items():
            (folder / "events" / event / "filter").write_text(only)
            (folder / "events" / event / "enable").write_text("1")
        fd = os.open(folder / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield TracePipe(fd, folder / "tracing_on")
        finally:
            os.close(fd)
    finally:
        folder.rmdir()
