# SPDX-License-Identifier: Apache-2.0
"""Who takes care of the services during a turn: the observer or a comparator.

Each is a process of its own that prints verdicts and outcomes; one ear hears all.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from observer.demo.voice import END_SECONDS, Voice, observer_running
from observer.errors import DeadlineError, ProgramError
from observer.guests.waiting import wait_until
from observer.model import Outcome, Result, StepKind, Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from observer.experiment.designs import Design

__all__ = [
    "READY",
    "caretaker",
    "ends_on_sigterm",
    "say_outcome",
    "say_ready",
    "say_verdict",
]

READY = "takes care"
SEEN_SECONDS = 60.0
READY_SECONDS = 300.0  # a Linux VM boots so long where the CPU is emulated
PATHS = """\
[paths]
state = "{state}"
"""


@contextmanager
def caretaker(
    design: Design, services: tuple[str, ...], folder: Path
) -> Iterator[Voice]:
    """Have the services taken care of while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    if design.policy is not None:
        config = folder / "observer.toml"
        config.write_text(design.policy + PATHS.format(state=folder / "state"))
        with observer_running(folder / "log", "--config", str(config)) as voice:
            seen = [f"vm: {service} " for service in services]
            wait_until(
                lambda: all(line in voice.notes() for line in seen),
                SEEN_SECONDS,
                f"it saw {' and '.join(services)}",
            )
            yield voice
    else:
        with _comparator(design.comparator, services, folder / "log") as voice:
            yield voice


@contextmanager
def _comparator(module: str, services: tuple[str, ...], notes: Path) -> Iterator[Voice]:
    argv = [sys.executable, "-m", module, *services]
    with (
        notes.open("w") as to,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=to, text=True) as process,
    ):
        try:
            voice = Voice(process, notes)

            def is_ready() -> bool:
                if process.poll() is not None:
                    raise ProgramError(f"{module} ended: {voice.notes().strip()}")
                return READY in voice.notes()

            wait_until(is_ready, READY_SECONDS, f"{module} was ready")
            yield voice
        except DeadlineError as e:
            raise ProgramError(f"{e.message} It said: {voice.notes()[-500:]}") from e
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


# -- what a comparator says ---------------------------------------------------------


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def ends_on_sigterm() -> None:
    """What is being kept is taken away whole."""
    signal.signal(signal.SIGTERM, _end)


def say_ready() -> None:
    """A fault may come now."""
    print(READY, file=sys.stderr, flush=True)  # noqa: T201 - it is heard


def _say(event: msgspec.Struct) -> None:
    print(msgspec.json.encode(event).decode(), flush=True)  # noqa: T201 - likewise


def say_verdict(
    service: str, kind: VerdictKind, since_ns: int, evidence: str, action: str
) -> Verdict:
    """As the observer does."""
    now_ns = time.monotonic_ns()
    verdict = Verdict(
        time=datetime.now(UTC).isoformat(),
        monotonic_ns=now_ns,
        vm=service,
        subject=service,
        kind=kind,
        since_ns=since_ns,
        late_by_ns=now_ns - since_ns,
        evidence=evidence,
        action=action,
    )
    _say(verdict)
    return verdict


def say_outcome(  # noqa: PLR0913 - what an outcome says
    service: str,
    kind: VerdictKind,
    step: StepKind | None,
    *,
    began_ns: int,
    why: str,
    result: Result = Result.REPAIRED,
) -> None:
    """It has done what it does; `began_ns` is when it began."""
    now_ns = time.monotonic_ns()
    _say(
        Outcome(
            time=datetime.now(UTC).isoformat(),
            monotonic_ns=now_ns,
            vm=service,
            subject=service,
            kind=kind,
            step=step,
            result=result,
            took_ns=now_ns - began_ns,
            why=why,
        )
    )
