# SPDX-License-Identifier: Apache-2.0
"""Second look at a guest of which a vCPU halted with its interrupts off.

Only an NMI, an INIT or a reset ends such a halt (AMD APM vol. 3, HLT), and within a
guest only another vCPU sends one.  So a guest is at its end when all have halted so:
an idle CPU halts with its interrupts on, and one that was taken offline is one of many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.confirm.vcpu import interrupts_off
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HaltLook", "judge_halt"]

STEP_NS = 10 * MS
PATIENCE_NS = 50 * MS


class HaltLook(msgspec.Struct, frozen=True):
    """A vCPU at one moment; `halted`: its last exit was a halt, and its thread sleeps.

    `rip` and `rflags` are those of that halt.
    """

    own_exits: int
    halted: bool
    isa: int
    rip: int
    rflags: int


def _at_its_end(vcpu: HaltLook) -> bool:
    return vcpu.halted and interrupts_off(vcpu.isa, vcpu.rflags)


def judge_halt(
    before: Sequence[HaltLook],
    now: Sequence[HaltLook],
    *,
    since_ns: int,
    age_ns: int,
) -> Look:
    """Compare two looks at all vCPUs of a guest; the first is `age_ns` old."""
    if now and all(map(_at_its_end, now)) and now == before:
        where = ", ".join(f"{vcpu.rip:#x}" for vcpu in now)
        who = "its vCPU has" if len(now) == 1 else f"all {len(now)} vCPUs have"
        return Confirmed(
            VerdictKind.GUEST_HUNG,
            "guest",
            since_ns,
            f"{who} halted with interrupts off, at rip {where}",
        )
    if age_ns < PATIENCE_NS:
        return LookAgain(STEP_NS, "others of its vCPUs may follow")
    return Refuted("not all of its vCPUs halted with interrupts off")
