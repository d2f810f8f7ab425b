# SPDX-License-Identifier: Apache-2.0
"""perf as a tool that observes exits: `perf kvm stat record`, and bare counters.

perf answers `ping` on its control pipe only when its events are enabled.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.guests.children import child
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from observer.bench.tool import Tool

__all__ = ["counted_exits", "counters", "recorded_exits", "stat_record"]

ARM_SECONDS = 90.0
END_SECONDS = 120.0


def recorded_exits(said: str) -> int | None:
    """Exits in a recording: half of its samples, each exit having its entry."""
    match = re.search(r"\((\d+) samples\)", said)
    return int(match[1]) // 2 if match else None


def counted_exits(said: str) -> int | None:
    """Exits in the output of `perf stat -x,`."""
    match = re.search(r"^(\d+),[^,]*,kvm:kvm_exit,", said, re.MULTILINE)
    return int(match[1]) if match else None


class _Perf:
    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        pipes: tuple[int, int],
        read: Callable[[str], int | None],
    ) -> None:
        self._process, self._log, self._pipes = process, log, pipes
        self._read = read

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise ProgramError(f"perf ended: {self._log.read_text().strip()[-300:]}")
        try:
            return b"ack" in os.read(self._pipes[1], 64)
        except BlockingIOError:
            return False

    def wait_until_armed(self) -> None:
        os.write(self._pipes[0], b"ping\n")
        wait_until(self._answers, ARM_SECONDS, "perf was armed")

    def wait_until_sees(self, vm: str) -> None:  # noqa: ARG002 - it looks at all
        if self._process.poll() is not None:
            raise ProgramError(f"perf ended: {self._log.read_text().strip()[-300:]}")

    def count(self) -> int | None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return self._read(self._log.read_text(errors="replace"))


@contextmanager
def _perf(
    argv: Sequence[str], folder: Path, read: Callable[[str], int | None]
) -> Iterator[Tool]:
    """Run perf while the block does; armed when it begins."""
    with ExitStack() as stack:
        pipes = []
        for name in ("control", "answer"):
            path = folder / f"perf.{name}"
            os.mkfifo(path)
            stack.callback(path.unlink)
            pipes.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
            stack.callback(os.close, pipes[-1])
        control = f"--control=fifo:{folder}/perf.control,{folder}/perf.answer"
        log = folder / "perf.log"
        log.unlink(missing_ok=True)
        process = stack.enter_context(child(["perf", *argv, control], log))
        perf = _Perf(process, log, (pipes[0], pipes[1]), read)
        perf.wait_until_armed()
        yield perf


def stat_record(folder: Path) -> AbstractContextManager[Tool]:
    """Record every entry and exit, as `perf kvm stat record` does."""
    to = str(folder / "perf.data")
    return _perf(
        ["kvm", "--host", "stat", "record", "-a", "-o", to], folder, recorded_exits
    )


def counters(folder: Path) -> AbstractContextManager[Tool]:
    """Count KVM's tracepoints, which is what `kvm_stat --tracepoints` opens."""
    return _perf(["stat", "-a", "-x,", "-e", "kvm:*"], folder, counted_exits)
