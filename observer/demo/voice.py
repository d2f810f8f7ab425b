# SPDX-License-Identifier: Apache-2.0
"""The observer under test: `observer run` as a process of its own, and what it says."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import msgspec

from observer.errors import DeadlineError, ProgramError
from observer.guests.waiting import wait_until
from observer.model import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["ARMED", "Voice", "heard", "observer_running"]

ARMED = "armed: in"

START_SECONDS = 240.0  # BCC compiles that long where the CPU is emulated
END_SECONDS = 30.0


class Voice:
    """Verdicts as they come, each with nothing but what the daemon printed."""

    def __init__(self, process: subprocess.Popen[str], notes: Path) -> None:
        self._process, self._notes = process, notes
        self._heard: list[Verdict] = []
        self._outcomes: list[Outcome] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            event = msgspec.json.decode(line)
            with self._changed:
                if "result" in event:
                    self._outcomes.append(msgspec.convert(event, Outcome))
                else:
                    self._heard.append(msgspec.convert(event, Verdict))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def since(self, monotonic_ns: int) -> list[Verdict]:
        """Verdicts given after a moment."""
        with self._changed:
            return [v for v in self._heard if v.monotonic_ns >= monotonic_ns]

    def wait(self, wanted: Callable[[Verdict], bool], seconds: float) -> Verdict | None:
        """Give the first verdict that is wanted, or None when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(wanted, self._heard)), seconds)
            return next((v for v in self._heard if wanted(v)), None)

    def outcomes(self) -> list[Outcome]:
        """What came of the verdicts, so far."""
        with self._changed:
            return list(self._outcomes)

    def wait_for_outcome(
        self, wanted: Callable[[Outcome], bool], seconds: float
    ) -> Outcome | None:
        """Give the first outcome that is wanted, or None when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(wanted, self._outcomes)), seconds)
            return next((o for o in self._outcomes if wanted(o)), None)

    def notes(self) -> str:
        """What the daemon wrote to stderr."""
        return self._notes.read_text(errors="replace")

    def kill(self) -> None:
        """End the daemon as a crash would."""
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The process that speaks."""
        return self._process.pid

    def alive(self) -> bool:
        """Say whether the daemon still runs."""
        return self._process.poll() is None


@contextmanager
def heard(
    argv: Sequence[str], notes: Path, ready: str, seconds: float
) -> Iterator[Voice]:
    """Run a program that says verdicts; it has noted that it is ready at the start."""
    with (
        notes.open("w") as to,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=to, text=True) as process,
    ):
        try:
            voice = Voice(process, notes)
            _wait_until_ready(voice, argv, ready, seconds)
            yield voice
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(
    voice: Voice, argv: Sequence[str], ready: str, seconds: float
) -> None:
    def is_ready() -> bool:
        if not voice.alive():
            raise ProgramError(f"{' '.join(argv)} ended: {voice.notes().strip()}")
        return ready in voice.notes()

    try:
        wait_until(is_ready, seconds, f"{' '.join(argv)} was ready")
    except DeadlineError as e:
        raise ProgramError(f"{e.message} It said: {voice.notes()[-500:]}") from e


@contextmanager
def observer_running(
    notes: Path, *options: str, under: tuple[str, ...] = ()
) -> Iterator[Voice]:
    """Run the daemon while the block does; armed when the block begins.

    `under` are programs that set something for it and become it.
    """
    daemon = (sys.executable, "-m", "observer", "run", "-v", "-o", "jsonl")
    with heard((*under, *daemon, *options), notes, ARMED, START_SECONDS) as voice:
        yield voice
