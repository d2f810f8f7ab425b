# SPDX-License-Identifier: Apache-2.0
"""Tools that count exits by reason in a BPF map: bpftrace, and bcc's kvmexit."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.bench.tool import perf_event_count
from observer.errors import ProgramError
from observer.guests.children import child
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from observer.bench.tool import Tool

__all__ = ["COUNT_BY_REASON", "bpftrace", "counted_by_reason", "kvmexit"]

ARM_SECONDS = 180.0
END_SECONDS = 60.0
COUNT_BY_REASON = "tracepoint:kvm:kvm_exit { @[args->exit_reason] = count(); }"


def counted_by_reason(said: str) -> int | None:
    """Sum of bpftrace's `@[reason]: count` lines; None where there is none."""
    counts = re.findall(r"^@\[\d+\]: (\d+)$", said, re.MULTILINE)
    return sum(map(int, counts)) if counts else None


class _Counter:
    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        armed: Callable[[], bool],
    ) -> None:
        self._process, self._log, self._armed = process, log, armed

    def _is_armed(self) -> bool:
        if self._process.poll() is not None:
            said = self._log.read_text(errors="replace").strip()
            raise ProgramError(f"{self._log.stem} ended: {said[-300:]}")
        return self._armed()

    def wait_until_armed(self) -> None:
        wait_until(self._is_armed, ARM_SECONDS, f"{self._log.stem} was armed")

    def wait_until_sees(self, vm: str) -> None:  # noqa: ARG002 - it looks at all
        self._is_armed()

    def count(self) -> int | None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return counted_by_reason(self._log.read_text(errors="replace"))


@contextmanager
def bpftrace(folder: Path) -> Iterator[Tool]:
    """Count exits by reason, as bcc's kvmexit does, on any CPU."""
    log = folder / "bpftrace.log"
    log.unlink(missing_ok=True)
    with child(["bpftrace", "-e", COUNT_BY_REASON], log) as process:
        # Its one perf event is the tracepoint; that it counted shows that it was on.
        tool = _Counter(process, log, lambda: perf_event_count(process.pid) > 0)
        tool.wait_until_armed()
        yield tool


@contextmanager
def kvmexit(folder: Path) -> Iterator[Tool]:
    """Run bcc's own tool, which knows Intel's exit reasons only."""
    log = folder / "kvmexit.log"
    log.unlink(missing_ok=True)
    with child(["kvmexit-bpfcc"], log) as process:
        tool = _Counter(process, log, lambda: "Hit Ctrl-C" in log.read_text())
        tool.wait_until_armed()
        yield tool
