# SPDX-License-Identifier: Apache-2.0
"""What a responder found, and what is to be said of it, as pure functions."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target import Ring

__all__ = ["WELL", "Finding", "Judgement", "Monitor", "finding_in", "judged"]


RING_FINDINGS = ("backend", "guest")
WELL = "well"
"""Of what was found before, nothing is so any more."""


class Finding(msgspec.Struct, frozen=True):
    """`found WHAT WHICH VALUE`, as `unikernels/responder` says it."""

    what: str
    which: int
    value: int


class Monitor(Enum):
    """What the VM's monitor says when it is asked; one that is stopped is not."""

    RUNNING = auto()
    PAUSED = auto()
    STOPPED = auto()
    SILENT = auto()
    GONE = auto()


class Judgement(msgspec.Struct, frozen=True):
    """What a verdict says, but for its time; `late_ns` where it is known."""

    kind: VerdictKind
    subject: str | None
    late_ns: int
    evidence: str


def finding_in(line: str) -> Finding | None:
    """The finding that a line tells of, if it does."""
    match line.split():
        case ["found", what, which, value] if which.isdecimal() and value.isdecimal():
            return Finding(what, int(which), int(value))
    return None


def _of_vmm(monitor: Monitor, late_ns: int) -> Judgement | None:
    """The guest stands still as a whole: what its VMM does comes first."""
    still = "the guest's memory stands still, and its VMM"
    if monitor is Monitor.GONE:
        kind, evidence = VerdictKind.VMM_CRASHED, f"{still}'s monitor is gone"
    elif monitor is Monitor.STOPPED:
        kind, evidence = VerdictKind.VMM_STOPPED, f"{still} is stopped"
    elif monitor is Monitor.SILENT:
        kind, evidence = VerdictKind.VMM_HUNG, f"{still}'s monitor does not answer"
    else:
        return None
    return Judgement(kind, None, late_ns, evidence)


def _of_timer(finding: Finding, vcpus: int) -> Judgement:
    cpu, late_ns = finding.which, finding.value
    late = f"the timer of CPU {cpu} is overdue by {late_ns / MS:.0f} ms"
    if finding.what == "all" or vcpus == 1:
        evidence = f"{late}, and no CPU takes ticks"
        return Judgement(VerdictKind.GUEST_HUNG, "guest", late_ns, evidence)
    evidence = f"{late}, while other CPUs take ticks"
    return Judgement(VerdictKind.VCPU_HUNG, f"vcpu{cpu}", late_ns, evidence)


def _of_ring(finding: Finding, ring: Ring) -> Judgement:
    if finding.what == "backend":
        evidence = f"{ring.name} has {finding.value} requests, and none is served"
        device = ring.name.partition(" ")[0]
        return Judgement(VerdictKind.BACKEND_HUNG, device, 0, evidence)
    evidence = f"{ring.name} has {finding.value} answers that the guest does not take"
    return Judgement(VerdictKind.GUEST_HUNG, "guest", 0, evidence)


def judged(
    finding: Finding, monitor: Monitor, vcpus: int, rings: Sequence[Ring]
) -> Judgement | None:
    """What is wrong, if something is: nobody owes anything while the VM is paused.

    A back end that hangs may hold up its VMM as well, which is asked by it.
    """
    if finding.what == "panic":
        evidence = f"its kernel panicked on CPU {finding.value}"
        return Judgement(VerdictKind.GUEST_HUNG, "guest", 0, evidence)
    if monitor is Monitor.PAUSED:
        return None
    if finding.what in ("all", "vcpu"):
        return _of_vmm(monitor, finding.value) or _of_timer(finding, vcpus)
    if finding.what not in RING_FINDINGS or finding.which >= len(rings):
        return None
    held_up = finding.what == "backend" and monitor is Monitor.SILENT
    of_vmm = None if held_up else _of_vmm(monitor, 0)
    return of_vmm or _of_ring(finding, rings[finding.which])
