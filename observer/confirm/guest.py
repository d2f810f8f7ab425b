# SPDX-License-Identifier: Apache-2.0
"""Second look at a guest that gave no sign of life: ask again, read its rings.

An answer is consumption: `used_event` or `avail` moved in guest memory, or a vCPU
halted or kicked since.  The limit counts only time in which the guest could run.

One that sleeps over what it was sent may have missed its call, may have taken its
network down, or may hang: it is called again, by its own interrupt.  The first consumes
then, the second wakes, and the third does neither.
"""

from __future__ import annotations

import msgspec

from observer.clock import MS
from observer.inventory.guest_memory import RingWords
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

__all__ = [
    "NETWORK_DOWN",
    "GuestLook",
    "fair_step_ns",
    "has_consumed",
    "judge_guest",
    "sleeps_over",
]

NETWORK_DOWN = "it wakes when it is called, and takes nothing: its network is down"
STEP_NS = 10 * MS
PATIENCE_NS = 3000 * MS


class GuestLook(msgspec.Struct, frozen=True):
    """A guest at one moment.

    `words` are its receive rings', by slot; `sleeping` says that no vCPU runs, and
    `consumption_visible` that a ring with EVENT_IDX is among them.  That one
    `stands_unread` is told where the guest gives signs of life all the while.
    """

    sign_ns: int
    words: dict[int, RingWords]
    sleeping: bool
    consumption_visible: bool
    stands_unread: bool


def fair_step_ns(elapsed_ns: int, runnable: bool, ran_ns: int) -> int:  # noqa: FBT001
    """How much of a step counts against a task: none of it if it waited for a CPU."""
    return 0 if runnable and ran_ns * 4 < elapsed_ns else elapsed_ns


def _consumed(asked: GuestLook, now: GuestLook) -> bool:
    return any(
        (w.used_event, w.avail) != (before.used_event, before.avail)
        for slot, w in now.words.items()
        if (before := asked.words.get(slot)) is not None
    )


def has_consumed(look: GuestLook) -> bool:
    """Whether nothing waits in its receive rings, as far as they show that."""
    return all(w.used == w.used_event for w in look.words.values())


def sleeps_over(before: GuestLook, now: GuestLook) -> bool:
    """Whether it slept at both looks over the same: it lacks no CPU to consume that."""
    stands = any(
        w.used_event not in (w.used, then.used) and w.used_event == then.used_event
        for slot, w in now.words.items()
        if (then := before.words.get(slot)) is not None
    )
    return before.sleeping and now.sleeping and stands


def _delivered(asked: GuestLook, now: GuestLook) -> bool:
    return any(
        w.used != before.used or w.used != w.used_event
        for slot, w in now.words.items()
        if (before := asked.words.get(slot)) is not None
    )


def _answer(
    *, consumed: bool, called: bool, signs: bool, stands_unread: bool, since_ns: int
) -> Look | None:
    """What it has done since it was asked, or called, tells; None: nothing yet."""
    if consumed and not called:
        return Refuted("it consumed what it was sent")
    if consumed:
        how = "it slept over what it was sent, and took it when called again"
        return Confirmed(VerdictKind.GUEST_HUNG, "guest", since_ns, how)
    if signs and called:
        return Refuted(NETWORK_DOWN)
    if signs and not stands_unread:
        return Refuted("it halted or kicked since it was asked")
    return None


def judge_guest(  # noqa: PLR0911, PLR0913 - a ladder of early returns
    *,
    asked: GuestLook,
    now: GuestLook,
    asked_ns: int,
    called_ns: int | None,
    since_ns: int,
    fair_ns: int,
    elapsed_ns: int,
    limit_ns: int,
    tap: str | None,
) -> Look:
    """Judge a guest that was asked `elapsed_ns` ago.

    `fair_ns` count, since it was asked or, where `called_ns` says when, called again.
    """
    signs = now.sign_ns > (asked_ns if called_ns is None else called_ns)
    if answer := _answer(
        consumed=_consumed(asked, now),
        called=called_ns is not None,
        signs=signs,
        stands_unread=now.stands_unread,
        since_ns=since_ns,
    ):
        return answer
    if fair_ns < limit_ns:
        if elapsed_ns > PATIENCE_NS:
            return Refuted("it had too little CPU time to answer")
        return LookAgain(STEP_NS, "it has time left to answer")
    if tap is None:
        return Refuted("it has no tap that it could be asked on")
    if not now.sleeping and not now.consumption_visible:
        return Refuted("it runs, and its rings do not show what it consumes")
    if now.words and not _delivered(asked, now):
        return Refuted("its back end delivered nothing: not the guest's fault")
    if signs:
        return Refuted("it lives, and does not sleep over what it was sent")
    doing = "its vCPUs sleep" if now.sleeping else "a vCPU is busy"
    if called_ns is not None:
        doing = "it sleeps, called again or not"
    rings = "; ".join(
        f"used {w.used}, consumed {w.used_event}" for w in now.words.values()
    )
    return Confirmed(
        VerdictKind.GUEST_HUNG,
        "guest",
        since_ns,
        f"asked on {tap}, no answer for {elapsed_ns / MS:.0f} ms while {doing}"
        + (f" ({rings})" if rings else ""),
    )
