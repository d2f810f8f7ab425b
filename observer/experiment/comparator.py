# SPDX-License-Identifier: Apache-2.0
"""What a comparator says: verdicts and outcomes on stdout, the rest on stderr.

The words are those of `observer run -v -o jsonl`, so that one ear hears all.
"""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from observer.model import Outcome, Result, StepKind, Verdict, VerdictKind

if TYPE_CHECKING:
    from types import FrameType

__all__ = [
    "READY",
    "ends_on_sigterm",
    "say_armed",
    "say_note",
    "say_outcome",
    "say_ready",
    "say_recovered",
    "say_verdict",
    "say_watched",
]

READY = "takes care"


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def ends_on_sigterm() -> None:
    """What is being kept is taken away whole."""
    signal.signal(signal.SIGTERM, _end)


def say_note(text: str) -> None:
    """Whatever else there is to tell."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - it is heard


def say_ready() -> None:
    """A fault may come now."""
    say_note(READY)


def say_armed(seconds: float) -> None:
    """It watches, so long after its start."""
    say_note(f"armed: in {seconds:.3f} s")


def say_watched(vm: str, pid: int) -> None:
    """It has found a VM, and watches this life of it."""
    say_note(f"vm: {vm} (pid {pid}) is watched")


def say_recovered(vm: str) -> None:
    """What failed was seen well again: the next failure will be said."""
    say_note(f"recovered: {vm}")


def _say(event: msgspec.Struct) -> None:
    print(msgspec.json.encode(event).decode(), flush=True)  # noqa: T201 - likewise


def say_verdict(  # noqa: PLR0913 - what a verdict says
    vm: str,
    kind: VerdictKind,
    since_ns: int,
    evidence: str,
    action: str = "",
    *,
    subject: str | None = None,
) -> Verdict:
    """As the observer does."""
    now_ns = time.monotonic_ns()
    verdict = Verdict(
        time=datetime.now(UTC).isoformat(),
        monotonic_ns=now_ns,
        vm=vm,
        subject=vm if subject is None else subject,
        kind=kind,
        since_ns=since_ns,
        late_by_ns=now_ns - since_ns,
        evidence=evidence,
        action=action,
    )
    _say(verdict)
    return verdict


def say_outcome(  # noqa: PLR0913 - what an outcome says
    vm: str,
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
            vm=vm,
            subject=vm,
            kind=kind,
            step=step,
            result=result,
            took_ns=now_ns - began_ns,
            why=why,
        )
    )
