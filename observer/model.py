# SPDX-License-Identifier: Apache-2.0
"""The types on the arrows: probe -> suspicion -> verdict -> repair -> outcome.

Each stage knows the type that it takes and the one that it gives, nothing more.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

__all__ = [
    "BackEnd",
    "Confirmed",
    "Look",
    "LookAgain",
    "Outcome",
    "Refuted",
    "Repair",
    "Result",
    "Ring",
    "RunState",
    "Step",
    "StepKind",
    "Subject",
    "Suspicion",
    "SuspicionKind",
    "Verdict",
    "VerdictKind",
    "Vm",
]


class SuspicionKind(IntEnum):
    """`enum suspicion_kind` of `bpf/cells.h`: what the kernel holds to be late."""

    EXITED = 1
    VCPU = 2
    BACKEND = 3
    STARVED = 4
    BLOCKED = 5
    CALLED = 6
    SILENT = 7
    UNANSWERED = 8
    UNCALLED = 9
    STOPPED = 10
    SERVICE = 11
    PART = 12
    UNKICKED = 13
    FELL = 14
    UNCONSUMED = 15
    HALTED = 16
    PANIC = 17
    NOTE_VM = 32
    NOTE_RING = 33
    NOTE_MODULE = 34


class Suspicion(msgspec.Struct, frozen=True):
    """What a kernel timer or tracepoint raised; not yet believed."""

    kind: SuspicionKind
    now_ns: int
    since_ns: int
    value: int
    tgid: int
    vm: int
    slot: int


class VerdictKind(StrEnum):
    """What is wrong; panic, halt and spin look alike from outside: `guest-hung`."""

    VMM_CRASHED = "vmm-crashed"
    VMM_STOPPED = "vmm-stopped"
    VMM_HUNG = "vmm-hung"
    BACKEND_CRASHED = "backend-crashed"
    BACKEND_HUNG = "backend-hung"
    BACKEND_STARVED = "backend-starved"
    BACKEND_BLOCKED = "backend-blocked"
    GUEST_HUNG = "guest-hung"
    VCPU_HUNG = "vcpu-hung"
    SERVICE_CRASHED = "service-crashed"
    SERVICE_HUNG = "service-hung"
    PART_HUNG = "part-hung"


class BackEnd(msgspec.Struct, frozen=True):
    """A process that serves rings of a VM."""

    pid: int
    name: str


class Ring(msgspec.Struct, frozen=True):
    """A ring as an operator knows it, and where its cell lies."""

    slot: int
    name: str
    kick_id: int
    """`eventfd-id` of what its guest kicks it by, as /proc/PID/fdinfo has it."""
    call_id: int
    """Of what its back end calls the guest by; 0: unknown, or none."""
    doorbell: int
    """Where its guest writes to kick; 0: it has not kicked yet."""
    server: int
    """Thread that serves it, or process; 0: the VMM."""
    device: int
    """The same for all rings of a vhost device; 0: not vhost's."""


class Vm(msgspec.Struct, frozen=True):
    """A virtual machine as /proc shows it."""

    pid: int
    start_ticks: int
    name: str
    slot: int
    taps: tuple[str, ...] = ()
    qmp: str | None = None
    back_ends: tuple[BackEnd, ...] = ()
    user: int = 0
    """Who runs its VMM."""
    uuid: str | None = None
    """As its VMM was given it; to OpenStack it is the instance."""


class Subject(msgspec.Struct, frozen=True):
    """Whom a verdict is about: `vm`, and which part of it."""

    vm: str
    part: str
    pid: int
    slot: int


class RunState(StrEnum):
    """Whether the VM is meant to run now; `UNKNOWN` is not `RUNNING`."""

    RUNNING = "running"
    PAUSED = "paused"
    UNKNOWN = "unknown"


class Verdict(msgspec.Struct, frozen=True):
    """What was found true, since when, and on what evidence."""

    time: str
    monotonic_ns: int
    vm: str
    subject: str
    kind: VerdictKind
    since_ns: int
    late_by_ns: int
    evidence: str
    action: str
    pid: int = 0
    """The VMM that it is about: the next one of that name is another."""
    uuid: str | None = None
    """The VM's, where it has one."""
    server: int = 0
    """The process that serves its rings, where it is about one."""


class Confirmed(msgspec.Struct, frozen=True):
    """A second look agrees with the suspicion."""

    kind: VerdictKind
    subject: str
    since_ns: int
    evidence: str


class Refuted(msgspec.Struct, frozen=True):
    """A second look, or a gate, disagrees."""

    reason: str


class LookAgain(msgspec.Struct, frozen=True):
    """Too early to tell; look once more in so many ns."""

    in_ns: int
    reason: str


Look = Confirmed | Refuted | LookAgain


class StepKind(StrEnum):
    """The means of repair, each one thing once."""

    CONTINUE = "continue"
    RESET_PART = "reset-part"
    SWITCH_TO_SPARE = "switch-to-spare"
    RESTART_SERVICE = "restart-service"
    RE_KICK = "re-kick"
    BOUNCE_LINK = "bounce-link"
    RE_CALL = "re-call"
    INJECT_NMI = "inject-nmi"
    RESET_GUEST = "reset-guest"
    KILL_VMM = "kill-vmm"
    RESTART_VM = "restart-vm"
    RESTART_BACKEND = "restart-backend"


class Step(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"deadline_ns": "deadline", "cool_down_ns": "cool_down"},
):
    """One rung of a ladder: a means, by when it must have worked, how many tries."""

    do: StepKind
    deadline_ns: int
    tries: int = 1
    cool_down_ns: int = 0


class Repair(msgspec.Struct, frozen=True):
    """A step that is to be taken for a verdict, and which try of it this is."""

    verdict: Verdict
    step: Step
    attempt: int


class Result(StrEnum):
    """How a step, or a whole repair, ended."""

    REPAIRED = "repaired"
    RECOVERED = "recovered"
    """By itself, or with its cause: nothing was done."""
    FAILED = "failed"
    WOULD = "would"
    """A dry run: what would have been done."""
    ESCALATED = "escalated"


class Outcome(msgspec.Struct, frozen=True):
    """What came of a repair: one for each step, and one where it was given up."""

    time: str
    monotonic_ns: int
    vm: str
    subject: str
    kind: VerdictKind
    step: StepKind | None
    result: Result
    took_ns: int
    """Since the verdict."""
    why: str
