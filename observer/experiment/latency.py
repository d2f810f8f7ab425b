# SPDX-License-Identifier: Apache-2.0
"""The latency of a guest's answers, asked for on a schedule that nothing holds up.

The server is `load/echo.c` in the guest, the client `load/asker.c` on the host, over
the guest's tap.  A latency counts from the moment at which its request was due, not
from that at which it was sent: a client that is held up with its server would leave
out just those requests that would have waited (coordinated omission).  What was never
answered is a sample too, without a latency.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from pyroute2 import IPRoute

from observer.clock import SECOND
from observer.errors import DeadlineError, ProgramError
from observer.experiment.built import built
from observer.experiment.spread import phased, read_answers
from observer.experiment.workloads.workload import Kit
from observer.guests.children import child
from observer.guests.tap import tap_index
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from observer.experiment.spread import PhasedAnswer
    from observer.guests.guest import Guest

__all__ = ["LatencyProbe", "echo_kit"]

RATE = 100.0
"""Requests a second; each takes some 3 ms where the CPU is emulated."""
PORT = 4714
ROUNDS = 1000
"""Of the server's arithmetic for each request."""
ANSWERED = "answered"
ANSWERED_SECONDS = 60.0
END_SECONDS = 20.0  # it waits 2 s for late answers, then writes


def echo_kit(build: Path) -> Kit:
    """What a guest needs to be a server."""
    echo = built("echo", build / "experiment").resolve()
    return Kit((str(echo),), f"{echo} {PORT} {ROUNDS} >/dev/ttyS0 2>&1 &\n")


def _know_neighbour(guest: Guest) -> None:
    """Its address is never asked for: the host would drop requests meanwhile.

    After some 40 s Linux asks anew, and gives up on a guest that stands still for 3 s;
    whether a case falls into that is chance.  The entry goes with the tap.
    """
    with IPRoute() as ip:
        ip.neigh(
            "replace",
            dst=guest.spec.guest_address,
            lladdr=guest.spec.mac,
            ifindex=tap_index(guest.tap),
            state="permanent",
        )


class LatencyProbe:
    """Asks a guest while the block runs, which begins when the guest has answered.

    What happens meanwhile is told it as phases; when the block has ended it has all
    answers.  A guest that is started anew on its address is asked as its forerunner.
    """

    def __init__(
        self, guest: Guest, folder: Path, build: Path, rate: float = RATE
    ) -> None:
        self._guest, self._folder = guest, folder
        self._program = built("asker", build / "experiment")
        self._period_ns = round(SECOND / rate)
        self._marks: list[tuple[int, str]] = []
        self._stack = ExitStack()
        self._client: subprocess.Popen[bytes] | None = None
        self.answers: list[PhasedAnswer] = []

    @property
    def _log(self) -> Path:
        return self._folder / "asker.log"

    @property
    def _written(self) -> Path:
        return self._folder / "asker.answers"

    def mark(self, phase: str) -> int:
        """From now on requests belong to this phase; CLOCK_MONOTONIC ns of that."""
        now_ns = time.monotonic_ns()
        self._marks.append((now_ns, phase))
        return now_ns

    def _check(self) -> subprocess.Popen[bytes]:
        if self._client is None or self._client.poll() is not None:
            said = self._log.read_text(errors="replace").strip()
            raise ProgramError(f"The latency client has ended: {said[-300:]}")
        return self._client

    def __enter__(self) -> Self:
        argv = [
            *(str(self._program), self._guest.spec.guest_address, str(PORT)),
            *(str(self._period_ns), str(self._written)),
        ]
        self._log.unlink(missing_ok=True)
        self._written.unlink(missing_ok=True)
        _know_neighbour(self._guest)
        with ExitStack() as stack:
            self._client = stack.enter_context(child(argv, self._log))

            def answered() -> bool:
                self._check()
                return ANSWERED in self._log.read_text(errors="replace")

            wait_until(answered, ANSWERED_SECONDS, f"{self._guest.name} answered")
            self._stack = stack.pop_all()
        return self

    def _end(self) -> None:
        """Let the client wait for the last answers and write them all."""
        client = self._check()
        client.terminate()

        def ended() -> bool:
            return client.poll() is not None

        wait_until(ended, END_SECONDS, "the latency client wrote its answers")
        if client.returncode:
            said = self._log.read_text(errors="replace").strip()
            raise ProgramError(f"The latency client failed: {said[-300:]}")
        self.answers = phased(read_answers(self._written.read_bytes()), self._marks)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            try:
                self._end()
            except (ProgramError, DeadlineError):
                if kind is None:  # else the block's own error is the one to tell
                    raise
