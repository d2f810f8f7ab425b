# SPDX-License-Identifier: Apache-2.0
"""Turns what a scan finds late by time into suspicions, after a second reading.

It writes the words of the cells that the kernel's alarms write in the other design,
so that the rest of the daemon sees no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from observer.clock import MS
from observer.kernel.cells import (
    NO_SLOT,
    RING,
    VCPU,
    VM,
    RingFlag,
    RingHush,
    RingKind,
)
from observer.kernel.scan import LATE, Pools, ScanLimits, find_late
from observer.model import Suspicion, SuspicionKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observer.kernel.cells import Cells

__all__ = [
    "Limits",
    "RingReading",
    "Scanner",
    "Second",
    "VcpuReading",
    "limits_of",
    "warm_up",
]

RETRY = 10  # limits to wait before a subject that is late or asleep is read again
HALF_MS = MS // 2


class VcpuReading(msgspec.Struct, frozen=True):
    """What the scheduler says of a vCPU's thread."""

    known: bool
    asleep: bool
    owed_ns: int
    own_exits: int


class RingReading(msgspec.Struct, frozen=True):
    """What its server says of a ring whose debt may still be open."""

    known: bool
    blocked: bool
    taken: bool
    waited_ns: int


class Second(Protocol):
    """Reads what is in kernel memory; a ring's debt that was paid it closes."""

    def vcpu(self, slot: int) -> VcpuReading:
        """Read the CPU time of a vCPU."""
        ...

    def ring(self, slot: int) -> RingReading:
        """Read how far a ring was served; `since_ns` is 0 then if it was."""
        ...


class CellBooks(Protocol):
    """Where the cells are."""

    vms: Cells
    vcpus: Cells
    rings: Cells


class Limits(msgspec.Struct, frozen=True):
    """The knobs: those of the scan, and the one of the second reading."""

    scan: ScanLimits
    starved_ns: int


def limits_of(knobs: Mapping[str, int]) -> Limits:
    """What the scan needs of the knobs of the BPF programs."""
    scan = ScanLimits(
        vcpu=knobs["vcpu_limit_ns"],
        backend=knobs["backend_limit_ns"],
        called=knobs["called_ns"],
        validity=knobs["validity_ns"],
        answer=knobs["answer_ns"],
    )
    return Limits(scan, knobs["starved_limit_ns"])


def warm_up(limits: ScanLimits) -> None:
    """Have numba compile the scan, or load what it compiled for an earlier start."""
    due, late = np.zeros(1, "i8"), np.zeros(3, LATE)
    pools = Pools(np.zeros(1, VM), np.zeros(1, VCPU), np.zeros(1, RING), due, due)
    find_late(pools, limits, 0, 0, late)


class Scanner:
    """One pass after another over the same cells."""

    def __init__(
        self, books: CellBooks, used: Cells, limits: Limits, second: Second
    ) -> None:
        self._vms, self._vcpus, self._rings = books.vms, books.vcpus, books.rings
        self._used, self._second = used, second
        self._limits, self._starved_ns = limits.scan, limits.starved_ns
        self._due_vcpus = np.zeros(len(books.vcpus), "i8")
        self._due_rings = np.zeros(len(books.rings), "i8")
        cells = len(books.vms) + len(books.vcpus) + len(books.rings)
        self._late = np.zeros(cells, LATE)
        self._last_ns = 0

    def scan(self, now: int) -> list[Suspicion]:
        """Raise what has become late by `now`."""
        vms, vcpus, rings = (int(n) for n in self._used)
        pools = Pools(
            self._vms[:vms],
            self._vcpus[:vcpus],
            self._rings[:rings],
            self._due_vcpus[:vcpus],
            self._due_rings[:rings],
        )
        count = find_late(pools, self._limits, self._last_ns, now, self._late)
        self._last_ns = now
        found = (
            self._judge(int(late["kind"]), int(late["slot"]), now)
            for late in self._late[:count]
        )
        return [suspicion for suspicion in found if suspicion is not None]

    def _judge(self, kind: int, slot: int, now: int) -> Suspicion | None:
        match SuspicionKind(kind):
            case SuspicionKind.VCPU:
                return self._judge_vcpu(slot, now)
            case SuspicionKind.BACKEND:
                return self._judge_ring(slot, now)
            case of_vm:
                return self._suspect_vm(of_vm, slot, now)

    def _suspect_vm(self, kind: SuspicionKind, slot: int, now: int) -> Suspicion:
        vm = self._vms[slot]
        word = {
            SuspicionKind.CALLED: "call_ns",
            SuspicionKind.UNANSWERED: "asked_ns",
            SuspicionKind.SILENT: "sign_ns",
        }[kind]
        since, vm["suspected_ns"] = int(vm[word]), now
        tgid = int(vm["tgid"])
        return Suspicion(kind, now, since, now - since, tgid, slot, NO_SLOT)

    def _judge_vcpu(self, slot: int, now: int) -> Suspicion | None:
        """`judge_vcpu` of vcpu.bpf.c."""
        cell, limit = self._vcpus[slot], self._limits.vcpu
        vm = self._vms[int(cell["vm"])]
        read = self._second.vcpu(slot)
        since = int(cell["own_ns"])
        self._due_vcpus[slot] = now + RETRY * limit
        if not read.known or read.asleep or vm["exited"] or vm["hushed"]:
            return None
        if read.owed_ns < limit:
            self._due_vcpus[slot] = now + limit - read.owed_ns
            return None
        if int(cell["own_exits"]) != read.own_exits:
            return None  # it made one while it was read
        cell["suspected_exits"] = read.own_exits + 1
        cell["suspected_ns"] = now
        cell["suspicions"] += 1
        self._due_vcpus[slot] = now + limit
        return Suspicion(
            SuspicionKind.VCPU,
            now,
            since,
            read.owed_ns,
            int(vm["tgid"]),
            int(cell["vm"]),
            slot,
        )

    def _judge_ring(self, slot: int, now: int) -> Suspicion | None:
        """`judge_vhost_ring` and `judge_user_ring` of vring.bpf.c."""
        ring, limit = self._rings[slot], self._limits.backend
        read = self._second.ring(slot)
        since = int(ring["since_ns"])
        age = now - since
        if not read.known or not since or age < limit:
            return None  # paid, or it works: the rest is a new debt
        if ring["kind"] == RingKind.USER:
            kind = SuspicionKind.UNCALLED if read.taken else SuspicionKind.BACKEND
            return self._suspect_ring(slot, kind, since, age, now)
        waited = min(read.waited_ns, age)
        if age - waited >= limit and ring["flags"] & RingFlag.UNKICKED:
            kind = SuspicionKind.UNKICKED
            return self._suspect_ring(slot, kind, since, age - waited, now)
        if age - waited >= limit:
            kind = SuspicionKind.BLOCKED if read.blocked else SuspicionKind.BACKEND
            return self._suspect_ring(slot, kind, since, age - waited, now)
        if waited >= self._starved_ns:
            return self._suspect_ring(slot, SuspicionKind.STARVED, since, waited, now)
        wait_ns = min(self._starved_ns - waited, limit - (age - waited))
        self._due_rings[slot] = now + wait_ns + HALF_MS
        return None

    def _suspect_ring(
        self, slot: int, kind: SuspicionKind, since: int, value: int, now: int
    ) -> Suspicion | None:
        ring = self._rings[slot]
        vm = self._vms[int(ring["vm"])]
        self._due_rings[slot] = now + RETRY * self._limits.backend
        if ring["hushed"] == RingHush.ALL or not vm["tgid"] or vm["exited"]:
            return None
        ring["suspected_ns"] = now
        ring["suspicions"] += 1
        tgid = int(vm["tgid"])
        return Suspicion(kind, now, since, value, tgid, int(ring["vm"]), slot)
