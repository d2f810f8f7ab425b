# SPDX-License-Identifier: Apache-2.0
"""The local loop of one subject: up its ladder until its debt is paid, or to somebody.

The kernel suspects, `watch` confirms; from there on the states are

    confirmed → repairing → verifying → healthy
        ↑___________ cooling ←__|     → escalated

Each has a deadline, and each event leads on; nothing here acts, waits or reads a clock.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from observer.clock import MS, SECOND
from observer.model import Step, Verdict

__all__ = [
    "PATIENCE_NS",
    "LocalLoop",
    "State",
    "acted",
    "begin",
    "confirmed",
    "escalate",
    "expired",
    "found_again",
    "paid",
    "resumed",
    "step_of",
    "unfit",
]

PATIENCE_NS = 60 * SECOND  # a repair waits so long for what it uses
FORGET_NS = 600 * SECOND  # an escalated subject that comes up again is a new case


class State(StrEnum):
    """Where a subject is between its verdict and its health."""

    CONFIRMED = "confirmed"
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    COOLING = "cooling"
    HEALTHY = "healthy"
    ESCALATED = "escalated"


class LocalLoop(msgspec.Struct, frozen=True):
    """One subject, the rung that it is on, and when its state must have ended."""

    verdict: Verdict
    ladder: tuple[Step, ...]
    state: State
    until_ns: int
    rung: int = 0
    attempt: int = 0  # of this rung, those begun
    why: str = ""
    has_begun: bool = False
    """Whether a step has been tried already."""

    @property
    def over(self) -> bool:
        """Whether nothing more is done about it."""
        return self.state in (State.HEALTHY, State.ESCALATED)


def confirmed(verdict: Verdict, ladder: tuple[Step, ...], now_ns: int) -> LocalLoop:
    """A verdict has come; a subject without a ladder is somebody else's at once."""
    loop = LocalLoop(verdict, ladder, State.CONFIRMED, now_ns + PATIENCE_NS)
    return loop if ladder else escalate(loop, "no step is known for it", now_ns)


def resumed(  # noqa: PLR0913 - what a journal knows of it
    verdict: Verdict,
    ladder: tuple[Step, ...],
    now_ns: int,
    *,
    rung: int,
    attempt: int,
    settle_ns: int,
) -> LocalLoop:
    """One whose observer died: what it began may have worked, so that is seen first.

    A try that was cut off does not count.
    """
    loop = confirmed(verdict, ladder, now_ns)
    if rung >= len(ladder):
        return escalate(loop, "the ladder has changed since it was begun", now_ns)
    return msgspec.structs.replace(
        loop,
        state=State.COOLING,
        until_ns=now_ns + settle_ns,
        rung=rung,
        attempt=attempt,
        why="the observer was started again",
        has_begun=bool(rung or attempt),
    )


def found_again(loop: LocalLoop, verdict: Verdict, now_ns: int) -> LocalLoop:
    """A new verdict on a subject that is being mended, e.g. on the VM's next life."""
    loop = msgspec.structs.replace(loop, verdict=verdict)
    if loop.state is State.VERIFYING:
        return _failed(loop, f"{verdict.kind} again", now_ns)
    return loop


def step_of(loop: LocalLoop) -> Step:
    """The step that is being taken, or comes next."""
    return loop.ladder[loop.rung]


def begin(loop: LocalLoop, now_ns: int) -> LocalLoop:
    """The step that comes next is ordered."""
    if loop.state is not State.CONFIRMED:
        raise AssertionError(f"{loop.verdict.subject} is {loop.state}")
    return msgspec.structs.replace(
        loop,
        state=State.REPAIRING,
        until_ns=now_ns + step_of(loop).deadline_ns,
        attempt=loop.attempt + 1,
        has_begun=True,
    )


def escalate(loop: LocalLoop, why: str, now_ns: int) -> LocalLoop:
    """Nothing is left that we may do."""
    return msgspec.structs.replace(
        loop, state=State.ESCALATED, until_ns=now_ns + FORGET_NS, why=why
    )


def _next_rung(loop: LocalLoop, why: str, now_ns: int) -> LocalLoop:
    if loop.rung + 1 == len(loop.ladder):
        return escalate(loop, why, now_ns)
    return _again(loop, loop.rung + 1, 0, why, now_ns)


def _again(
    loop: LocalLoop, rung: int, attempt: int, why: str, now_ns: int
) -> LocalLoop:
    """It waits for its turn."""
    return msgspec.structs.replace(
        loop,
        state=State.CONFIRMED,
        until_ns=now_ns + PATIENCE_NS,
        rung=rung,
        attempt=attempt,
        why=why,
    )


def _failed(loop: LocalLoop, why: str, now_ns: int) -> LocalLoop:
    """Once more after the cool-down, or the next rung."""
    step = step_of(loop)
    if loop.attempt >= step.tries:
        return _next_rung(loop, f"{step.do}: {why}", now_ns)
    return msgspec.structs.replace(
        loop, state=State.COOLING, until_ns=now_ns + step.cool_down_ns, why=why
    )


def unfit(loop: LocalLoop, why: str, now_ns: int) -> LocalLoop:
    """The step that comes next is none for this subject, so the one after it does.

    Why one that was tried has failed is still told.
    """
    if loop.state is not State.CONFIRMED:
        return loop
    failed = f"{loop.why}; " if loop.has_begun else ""
    return _next_rung(loop, f"{failed}{step_of(loop).do}: {why}", now_ns)


def acted(
    loop: LocalLoop, now_ns: int, error: str | None = None, *, fits: bool = True
) -> LocalLoop:
    """The act has returned: well, with an error, or as one that does not fit here.

    One that returned well keeps its step's deadline: the debt is to be paid by then.
    """
    if loop.state is not State.REPAIRING:
        return loop
    if error is None:
        return msgspec.structs.replace(loop, state=State.VERIFYING)
    if not fits:
        return _next_rung(loop, f"{step_of(loop).do}: {error}", now_ns)
    return _failed(loop, error, now_ns)


def paid(loop: LocalLoop, now_ns: int) -> LocalLoop:
    """The debt is paid: by our repair, by the repair of a cause, or by itself."""
    if loop.state is State.REPAIRING:
        return loop  # what is half done is brought to its end
    return msgspec.structs.replace(loop, state=State.HEALTHY, until_ns=now_ns)


def expired(loop: LocalLoop, now_ns: int) -> LocalLoop:
    """Where the deadline of the state has passed: on to the next."""
    if now_ns < loop.until_ns:
        return loop
    match loop.state:
        case State.CONFIRMED:
            return escalate(loop, loop.why or "its turn did not come", now_ns)
        case State.REPAIRING | State.VERIFYING:
            ms = step_of(loop).deadline_ns // MS
            what = "done" if loop.state is State.REPAIRING else "well again"
            return _failed(loop, f"not {what} within {ms} ms", now_ns)
        case State.COOLING:
            return _again(loop, loop.rung, loop.attempt, loop.why, now_ns)
        case State.ESCALATED | State.HEALTHY:
            return msgspec.structs.replace(loop, state=State.HEALTHY)
