# SPDX-License-Identifier: Apache-2.0
"""Second look at a service VM that gives no sign, or a part of it that does no work."""

from __future__ import annotations

import msgspec

from observer.clock import MS
from observer.confirm.guest import fair_step_ns
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

__all__ = [
    "LOOKS_APART_NS",
    "Moment",
    "PartLook",
    "answer_time_ns",
    "judge_fall",
    "judge_part",
    "judge_service",
]

LOOKS_APART_NS = 2 * MS
PATIENCE_NS = 1000 * MS
ANSWER_NS = 5 * MS  # a loop that turns answers within one period of beats
ENDING_NS = 500 * MS  # a VMM that takes no request may be ending: its exit says more


class PartLook(msgspec.Struct, frozen=True):
    """What the last beat said of a part, and which beat that was."""

    beats: int
    done: int
    given: int


class Moment(msgspec.Struct, frozen=True):
    """The thread of a service's vCPU at one moment.

    `held` says that it is not the guest's: its VMM pauses it, works in it for a device
    (a reset of one took 60 ms on an emulated CPU), ends it, or is gone.
    """

    now_ns: int
    runtime_ns: int
    runnable: bool
    held: bool
    stopped: bool = False
    """By a signal, as all threads of its VMM."""


def answer_time_ns(before: Moment, now: Moment) -> int:
    """How much of the time between two moments a service could have used to answer.

    A thread that its ending VMM wakes looks for a moment as if it ran its guest.
    """
    if before.held or now.held:
        return 0
    ran_ns = now.runtime_ns - before.runtime_ns
    return fair_step_ns(now.now_ns - before.now_ns, now.runnable, ran_ns)


def judge_service(  # noqa: PLR0913 - all that it weighs is an argument
    *,
    name: str,
    first_sign_ns: int,
    sign_ns: int,
    fair_ns: int,
    age_ns: int,
    late_ns: int,
    since_ns: int,
    asked: bool,
) -> Look:
    """Compare the newest signs; `fair_ns` is the time in which it could have given one.

    `asked` says whether its control port took our request for a beat.
    """
    if sign_ns > first_sign_ns:
        return Refuted("it beats")
    if (left_ns := (ANSWER_NS if asked else ENDING_NS) - fair_ns) > 0:
        if age_ns > PATIENCE_NS:
            return Refuted("its VMM, or the host, keeps it from running")
        return LookAgain(min(LOOKS_APART_NS, left_ns), "it may still answer")
    how = (
        "and does not answer on its control port" if asked else "and could not be asked"
    )
    return Confirmed(
        VerdictKind.SERVICE_HUNG,
        name,
        since_ns,
        f"{name} has given no sign for {late_ns / MS:.0f} ms {how}",
    )


def judge_fall(  # noqa: PLR0913
    *,
    name: str,
    is_service: bool,
    vcpu: int,
    fell: bool,
    panics: bool,
    since_ns: int,
) -> Look:
    """Say whether a guest whose vCPU met a triple fault is one that ends with it.

    A service that panics says so before its last words, which take long to print.
    """
    if not is_service:
        return Refuted("its guest resets itself")
    if fell:
        how = f"vCPU {vcpu} of {name} met a triple fault, and has made no exit since"
    elif panics:
        how = f"{name} says that it panics: see its console"
    else:
        return Refuted("its vCPU runs on")
    return Confirmed(VerdictKind.SERVICE_CRASHED, name, since_ns, how)


def judge_part(  # noqa: PLR0913
    *,
    name: str,
    first: PartLook,
    now: PartLook,
    back_end_owes: bool,
    age_ns: int,
    late_ns: int,
    since_ns: int,
    silence_ns: int,
) -> Look:
    """Compare two beats; a service silent for `silence_ns` is another matter."""
    if now.done != first.done or now.done == now.given:
        return Refuted("it does its work")
    if back_end_owes:
        if age_ns > silence_ns:
            return Refuted("a back end owes it service")
        return LookAgain(LOOKS_APART_NS, "a back end may yet serve it")
    if now.beats == first.beats:
        if age_ns > silence_ns:
            return Refuted("its service is silent: that is another matter")
        return LookAgain(LOOKS_APART_NS, "its service has not said more")
    owed = (now.given - now.done) % (1 << 32)
    return Confirmed(
        VerdictKind.PART_HUNG,
        name,
        since_ns,
        f"{name} owes {owed} and has done nothing for {late_ns / MS:.0f} ms, "
        "while its service beats",
    )
