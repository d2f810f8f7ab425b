# SPDX-License-Identifier: Apache-2.0
"""Second look at a guest that gave no sign of life: ask again, read its rings.

An answer is consumption: `used_event` or `avail` moved in guest memory, or a vCPU
halted or kicked since.  The limit counts only time in which the guest could run.
"""

from __future__ import annotations

import msgspec

from observer.clock import MS
from observer.inventory.guest_memory import RingWords
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

__all__ = ["GuestLook", "fair_step_ns", "judge_guest"]

STEP_NS = 10 * MS
PATIENCE_NS = 3000 * MS


class GuestLook(msgspec.Struct, frozen=True):
    """A guest at one moment.

    `words` are its receive rings', by slot; `sleeping` says that no vCPU runs, and
    `consumption_visible` that a ring with EVENT_IDX is among them.
    """

    sign_ns: int
    words: dict[int, RingWords]
    sleeping: bool
    consumption_visible: bool


def fair_step_ns(elapsed_ns: int, runnable: bool, ran_ns: int) -> int:  # noqa: FBT001
    """How much of a step counts against a task: none of it if it waited for a CPU."""
    return 0 if runnable and ran_ns * 4 < elapsed_ns else elapsed_ns


def _consumed(asked: GuestLook, now: GuestLook) -> bool:
    return any(
        (w.used_event, w.avail) != (before.used_event, before.avail)
        for slot, w in now.words.items()
        if (before := asked.words.get(slot)) is not None
    )


def _delivered(asked: GuestLook, now: GuestLook) -> bool:
    return any(
        w.used != before.used or w.used != w.used_event
        for slot, w in now.words.items()
        if (before := asked.words.get(slot)) is not None
    )


def judge_guest(  # noqa: PLR0911, PLR0913 - a ladder of early returns
    *,
    asked: GuestLook,
    now: GuestLook,
    asked_ns: int,
    since_ns: int,
    fair_ns: int,
    elapsed_ns: int,
    limit_ns: int,
    tap: str | None,
) -> Look:
    """Judge a guest that was asked `elapsed_ns` ago, `fair_ns` of which count."""
    if now.sign_ns > asked_ns:
        return Refuted("it halted or kicked since it was asked")
    if _consumed(asked, now):
        return Refuted("it consumed what it was sent")
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
    doing = "its vCPUs sleep" if now.sleeping else "a vCPU is busy"
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
