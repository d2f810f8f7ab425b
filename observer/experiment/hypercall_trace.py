# SPDX-License-Identifier: Apache-2.0
"""Hypercalls as the kernel's own trace has them: who made which, and when.

KVM's tracepoint `kvm:kvm_hypercall` (arch/x86/kvm/trace.h) comes before KVM looks at
who asks, so a guest's programs are heard as its kernel is.  None of our BPF has a part
in it.
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
    from collections.abc import Iterator

__all__ = ["TRACING", "Hypercall", "HypercallTrace", "hypercall_trace", "hypercalls_in"]

TRACING = Path("/sys/kernel/tracing")
US = 1000
EVENT = "events/kvm/kvm_hypercall"
READ_BYTES = 1 << 16
# Documentation/trace/ftrace.rst: the thread, seconds with six digits, then the event's
# own words.  A thread's name may have anything in it, but its number ends at the CPU's.
_LINE = re.compile(
    r"-(\d+)\s+\[\d+\]\s\S+\s+(\d+)\.(\d{6}): kvm_hypercall: nr 0x([0-9a-f]+)"
    r" a0 0x([0-9a-f]+) a1 0x([0-9a-f]+) a2 0x([0-9a-f]+) a3 0x([0-9a-f]+)$",
    re.MULTILINE,
)


class Hypercall(msgspec.Struct, frozen=True):
    """One that a guest made; `thread` is its vCPU's, by the host's number."""

    thread: int
    ns: int
    number: int
    arguments: tuple[int, int, int, int]


def hypercalls_in(text: str) -> list[Hypercall]:
    """All of them in whole lines of a trace; to the microsecond, cut off."""
    return [
        Hypercall(
            int(thread),
            (int(seconds) * 1_000_000 + int(micros)) * US,
            int(number, 16),
            (int(a0, 16), int(a1, 16), int(a2, 16), int(a3, 16)),
        )
        for thread, seconds, micros, number, a0, a1, a2, a3 in _LINE.findall(text)
    ]


class HypercallTrace:
    """A trace pipe that does not block."""

    def __init__(self, fd: int) -> None:
        self._fd, self._text = fd, ""

    def fileno(self) -> int:
        """To wait on: readable when something was traced."""
        return self._fd

    def take(self) -> list[Hypercall]:
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
        return hypercalls_in(f"{whole}\n")


@contextmanager
def hypercall_trace(
    instance: str, number: int, root: Path = TRACING
) -> Iterator[HypercallTrace]:
    """Trace one hypercall while the block runs, in an instance that is ours alone.

    It needs root and KVM.
    """
    folder = root / "instances" / instance
    try:
        folder.mkdir(exist_ok=True)
    except OSError as e:
        raise HostError(
            f"{folder} cannot be made ({e.strerror}), so no hypercall is seen: run as "
            f"root, and mount tracefs (mount -t tracefs tracefs {root})."
        ) from e
    try:
        event = folder / EVENT
        (folder / "trace_clock").write_text("mono")
        (event / "filter").write_text(f"nr == {number:#x}")
        (event / "enable").write_text("1")
        fd = os.open(folder / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield HypercallTrace(fd)
        finally:
            os.close(fd)
    finally:
        folder.rmdir()
