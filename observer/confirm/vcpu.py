# SPDX-License-Identifier: Apache-2.0
"""Second look at a vCPU that made no exit of its own for its limit of CPU time.

A tickless guest in a long computation looks the same, but its interrupts are on.
"""

from __future__ import annotations

import msgspec

from observer.clock import MS
from observer.kernel.exits import ISA_SVM
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

__all__ = ["Lateness", "VcpuLook", "count_from", "interrupts_off", "judge_vcpu"]

FLAG_FIXED, FLAG_IF = 1 << 1, 1 << 9
"""The first is always set: without it nobody could read them."""
MORE_RUNTIME_NS = 20 * MS
PATIENCE_NS = 2000 * MS


class VcpuLook(msgspec.Struct, frozen=True):
    """A vCPU at one moment: its cell, and its thread's CPU time.

    `in_guest` says that the thread is its guest's, and not at work for its VMM.
    """

    own_exits: int
    host_exits: int
    runtime_ns: int
    rip: int
    rflags: int
    isa: int
    in_guest: bool


def interrupts_off(isa: int, rflags: int) -> bool:
    """Whether a vCPU surely had them off where its place was noted."""
    return isa == ISA_SVM and bool(rflags & FLAG_FIXED) and not rflags & FLAG_IF


def count_from(first: VcpuLook, now: VcpuLook) -> VcpuLook:
    """The first look, but of the CPU time only what the guest itself may have used."""
    if now.in_guest:
        return first
    return msgspec.structs.replace(first, runtime_ns=now.runtime_ns)


class Lateness(msgspec.Struct, frozen=True):
    """What the suspicion said, and how many of the VM's vCPUs are in the same case."""

    since_ns: int
    runtime_ns: int
    vcpu_id: int
    late: int
    of: int


def judge_vcpu(
    first: VcpuLook,
    now: VcpuLook,
    lateness: Lateness,
    age_ns: int,
    *,
    answered: bool | None,
) -> Look:
    """Compare two looks, `age_ns` apart; `answered` is the guest's reply to a frame.

    None means that it was not asked yet, or cannot be.
    """
    if now.own_exits != first.own_exits:
        return Refuted("it made an exit of its own since")
    more = now.runtime_ns - first.runtime_ns
    if more < MORE_RUNTIME_NS:
        if age_ns > PATIENCE_NS:
            return Refuted("it does not run any more")
        return LookAgain(10 * MS, "it got little CPU time since")
    masked = now.host_exits > 0 and interrupts_off(now.isa, now.rflags)
    if not masked:
        if answered is None:
            return LookAgain(0, "its interrupts may be on: ask the guest")
        if answered:
            return Refuted("the guest answers: a long computation without ticks")
    where = f" at rip {now.rip:#x}" if now.rip else ""
    state = "interrupts off" if masked else "the guest does not answer"
    whole = lateness.late == lateness.of
    subject = "guest" if whole else f"vcpu{lateness.vcpu_id}"
    return Confirmed(
        VerdictKind.GUEST_HUNG if whole else VerdictKind.VCPU_HUNG,
        subject,
        lateness.since_ns,
        f"vcpu{lateness.vcpu_id} ran {(lateness.runtime_ns + more) / MS:.0f} ms "
        f"without an exit of its own,{where} {state}",
    )
