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
    "Refuted",
    "Ring",
    "RunState",
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
