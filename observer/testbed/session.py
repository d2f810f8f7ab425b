# SPDX-License-Identifier: Apache-2.0
"""One QEMU with a nested host in it, from its start to its certain end.

Everything goes on in the thread that calls `run`, which must live as long as the
session: the kernel kills QEMU when the thread that started it ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from observer.errors import NestedHostDeadlineError, NestedHostError
from observer.guests.children import with_us
from observer.testbed.emulator_fault import why_silent
from observer.testbed.protocol import (
    CONTROL,
    MONITOR,
    PORTS,
    STDERR,
    STDOUT,
    Ended,
    Failed,
    Job,
    Lines,
    Message,
    Ready,
    Signal,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from observer.testbed.machine import Machine

__all__ = ["Limits", "Session"]

INTERRUPT_GRACE_S = 10
CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Limits:
    """How long the nested host may take."""

    boot_s: float = 120
    """Until it is up and asks for its job."""
    total_s: float = 3600
    """Until the command has ended."""
    silence_s: float = 90
    """Without a word from the nested host while the command runs."""


def _write_all(fd: int, data: bytes, deadline: float) -> None:
    """Write however slow the reader is, but not beyond the deadline."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    try:
        while data:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise NestedHostDeadlineError(
                    "nobody had read the command's output when its time was over; the "
                    "nested host was stopped."
                )
            # A pipe that is ready takes this much without blocking.
            data = data[os.write(fd, data[: select.PIPE_BUF]) :]
    except BrokenPipeError as error:
        raise NestedHostError(
            "nobody reads the command's output any more; the nested host was stopped."
        ) from error


class Session:
    """A context manager: QEMU runs at most as long as the block."""

    def __init__(
        self,
        machine: Machine,
        logs: Path,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = logs / "console.log"
        self.boot_s = 0.0
        self._boot_bytes: int | None = None  # of the console
        self._machine = machine
        self._log = logs / "qemu.log"
        self._limits = limits
        self._clock = clock
        self._lines = Lines()
        self._started = 0.0
        self._ended: Ended | None = None
        self._received = {STDOUT: 0, STDERR: 0}
        self._heard = 0.0

    def __enter__(self) -> Self:
        pairs = {port: socket.socketpair() for port in (*PORTS, MONITOR)}
        self._monitor, _ = pairs[MONITOR]
        self._sockets = {port: pairs[port][0] for port in PORTS}
        theirs = {port: their for port, (_, their) in pairs.items()}
        self.console.touch()
        self._started = self._clock()
        try:
            self._process = self._start(theirs)
        finally:
            for end in theirs.values():
                end.close()
        self._pidfd = os.pidfd_open(self._process.pid)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The root is a throw-away and what is shared is on this machine already.
        self._process.kill()
        self._process.wait()
        os.close(self._pidfd)
        for end in (*self._sockets.values(), self._monitor):
            end.close()

    def _start(self, sockets: dict[str, socket.socket]) -> subprocess.Popen[bytes]:
        fds = {port: end.fileno() for port, end in sockets.items()}
        argv = self._machine.argv(self.console, fds)
        with self._log.open("wb") as log:
            # Its own session: Ctrl-C is for us, and we pass it on to the command.
            return subprocess.Popen(
                [*with_us(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=tuple(fds.values()),
                start_new_session=True,
            )

    def run(self, job: Job, stdout: int, stderr: int) -> int:
        """Run the job, its output going to two descriptors; its exit status.

        A negative status is the signal that ended it. Ctrl-C and SystemExit are
        first passed on to the command, which gets some seconds to end well.
        """
        sinks = {STDOUT: stdout, STDERR: stderr}
        try:
            self._until(self._started + self._limits.total_s, job, sinks)
        except (KeyboardInterrupt, SystemExit) as error:
            number = signal.SIGTERM if isinstance(error, SystemExit) else signal.SIGINT
            if self.boot_s and not self._ended:
                self._send(Signal(number))
                with contextlib.suppress(NestedHostError):
                    self._until(self._clock() + INTERRUPT_GRACE_S, job, sinks)
            raise
        if self._ended is None:
            raise AssertionError("the loop ends with a status or an error")
        return self._ended.status

    def _send(self, message: Message) -> None:
        # If QEMU is gone, its process says so.
        with contextlib.suppress(BrokenPipeError):
            self._sockets[CONTROL].sendall(encode(message))

    def _complete(self) -> bool:
        """The command has ended and all that it wrote is here."""
        return self._ended is not None and (
            self._received[STDOUT] >= self._ended.stdout_bytes
            and self._received[STDERR] >= self._ended.stderr_bytes
        )

    def _until(self, deadline: float, job: Job, sinks: dict[str, int]) -> None:
        """Serve the ports until all is complete; raise at the deadline."""
        with selectors.DefaultSelector() as selector:
            for port, end in self._sockets.items():
                selector.register(end, selectors.EVENT_READ, port)
            selector.register(self._pidfd, selectors.EVENT_READ, "")
            while not self._complete():
                ready = selector.select(self._patience(deadline))
                if ready:
                    self._heard = self._clock()
                for key, _ in ready:
                    data = self._read(key.data)
                    if key.data and not data:
                        selector.unregister(key.fileobj)
                    elif key.data in sinks:
                        self._received[key.data] += len(data)
                        _write_all(sinks[key.data], data, deadline)
                    elif key.data == CONTROL:
                        self._hear(data, job)
                if {key.data for key, _ in ready} == {""}:
                    status = self._process.wait()
                    raise NestedHostError(
                        "the nested host stopped before the command had ended "
                        f"(QEMU ended with {status}); {self._last_words()}"
                    )

    def _read(self, port: str) -> bytes:
        try:
            return self._sockets[port].recv(CHUNK_BYTES) if port else b""
        except ConnectionResetError:
            return b""

    def _hear(self, data: bytes, job: Job) -> None:
        for line in self._lines.feed(data):
            message = decode(line)
            if isinstance(message, Ready):
                self.boot_s = self._clock() - self._started
                self._boot_bytes = self.console.stat().st_size
                self._send(job)
            elif isinstance(message, Ended):
                self._ended = message
            elif isinstance(message, Failed):
                raise NestedHostError(
                    f"the nested host is not usable ({message.sentence}); see "
                    f"{self.console}."
                )

    def _patience(self, deadline: float) -> float:
        """Seconds that may be waited now; raises when there are none."""
        now = self._clock()
        if not self.boot_s and now >= self._started + self._limits.boot_s:
            raise NestedHostError(
                f"the nested host did not come up in {self._limits.boot_s:g} s; "
                f"{self._last_words()}"
            )
        if now >= deadline:
            raise NestedHostDeadlineError(
                f"the command had not ended after {now - self._started:.0f} s; the "
                f"nested host was stopped (--timeout gives it longer; {self.console})."
            )
        if not self.boot_s:
            return min(deadline, self._started + self._limits.boot_s) - now
        silent = now - self._heard
        if silent >= self._limits.silence_s:
            raise NestedHostError(
                f"the nested host hangs, it said nothing for {silent:.0f} s; "
                f"{self._last_words()}"
            )
        return min(deadline - now, self._limits.silence_s - silent)

    @property
    def reset_in_boot(self) -> bool:
        """Whether the nested host ended by itself before it could take a job."""
        return not self.boot_s and self._process.poll() == 0

    def said_in_boot(self) -> str:
        """What the kernel said before any program ran."""
        said = self.console.read_bytes()[: self._boot_bytes]
        return said.decode(errors="replace")

    def why_silent(self) -> str | None:
        """What the emulator did wrong, as far as its registers tell."""
        if self._process.poll() is not None:
            return None
        return why_silent(self._monitor, self.console.with_name("cpus.log"))

    def _last_words(self) -> str:
        """The end of the console log, or what QEMU said where there is none."""
        for log in (self.console, self._log):
            lines = log.read_text(errors="replace").split("\n")
            if last := [line.strip() for line in lines if line.strip()][-5:]:
                return f"the end of {log}:\n  " + "\n  ".join(last)
        return f"{self.console} is empty."
