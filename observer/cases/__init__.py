# SPDX-License-Identifier: Apache-2.0
"""A case: gather evidence, let a pure judge decide, come back when it says so."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import numpy as np

from observer.cases.back_end import BackEndCase
from observer.cases.guest import GuestCase
from observer.cases.reach import Reach
from observer.cases.service import ServiceCase
from observer.clock import MS, SECOND
from observer.confirm.process import judge_exit, judge_stop
from observer.confirm.vcpu import Lateness, VcpuLook, count_from, judge_vcpu
from observer.kernel.rings import owing_rings, unread_rings
from observer.meaning import OF_GUEST, is_event
from observer.model import (
    Confirmed,
    Look,
    LookAgain,
    Refuted,
    SuspicionKind,
    VerdictKind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observer.inventory.descriptors import Descriptors
    from observer.model import Suspicion, Verdict, Vm
    from observer.watch import Watch

__all__ = ["Cases"]

RECOVERY_MARGIN_NS = 1 * MS
OF_RINGS = frozenset(
    {
        SuspicionKind.BACKEND,
        SuspicionKind.STARVED,
        SuspicionKind.BLOCKED,
        SuspicionKind.UNCALLED,
        SuspicionKind.UNKICKED,
    }
)


class Cases:
    """Looks at subjects on behalf of a `Watch`."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._reach = Reach(watch)
        self._guests = GuestCase(watch, self._reach)
        self._back_ends = BackEndCase(watch, self._reach)
        self._services = ServiceCase(watch, self._reach)

    def server_of(self, vm: Vm, slot: int, held: Mapping[int, Descriptors]) -> int:
        """Which process serves a ring, by what processes hold open."""
        return self._back_ends.server_of(vm, slot, held)

    def is_service(self, vm: Vm) -> bool:
        """Whether it is a service VM of this host's."""
        return self._services.is_service(vm)

    def stands_by(self, vm: Vm) -> bool:
        """Whether it is a service's spare."""
        return self._services.stands_by(vm)

    def subject(self, vm: Vm) -> str:
        """The VM as a verdict names it."""
        return self._services.subject(vm)

    def lives(self, vm: Vm) -> bool:
        """Whether a VM that took another's place is up: it beats, or has booted."""
        if self.is_service(vm):
            return self._services.beats(vm)
        return not self._watch.is_booting(vm.slot)

    def server_pid(self, vm: Vm, suspicion: Suspicion) -> int:
        """The process that a suspicion is about, where it serves rings of the VM."""
        pid = suspicion.tgid
        if suspicion.kind in OF_RINGS:
            pid = int(self._watch.books.rings[suspicion.slot]["worker_tid"])
        return pid if any(b.pid == pid for b in vm.back_ends) else 0

    async def look(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Look until it is clear whether the suspicion holds."""
        if suspicion.kind is not SuspicionKind.EXITED and self._services.is_ending(vm):
            return Refuted("its keeper ends it")
        return await self._look(vm, suspicion)

    async def _look(self, vm: Vm, suspicion: Suspicion) -> Look:
        match suspicion.kind:
            case SuspicionKind.EXITED | SuspicionKind.STOPPED:
                return await self._process(vm, suspicion)
            case SuspicionKind.VCPU:
                return await self._vcpu(vm, suspicion)
            case SuspicionKind.FELL:
                return self._services.fell(vm, suspicion)
            case kind if kind in OF_GUEST:
                return await self._silence(vm, suspicion)
            case SuspicionKind.SERVICE | SuspicionKind.PART:
                return await self._services.look(vm, suspicion)
            case _:
                return await self._back_ends.look(vm, suspicion)

    async def _silence(self, vm: Vm, suspicion: Suspicion) -> Look:
        """One silence has one verdict: of a service that is up and runs, its own."""
        if self._is_up_service(vm) and not self._reach.out_of_kvm(vm):
            return await self._services.look(vm, suspicion)
        return await self._guests.look(vm, suspicion)

    def _is_up_service(self, vm: Vm) -> bool:
        """Also one that may have hung before we heard a beat of it."""
        return self._services.beats(vm) or self._services.is_up(vm)

    async def _process(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Of a VMM or back end: whether it has failed, or is stopped."""
        is_vmm = suspicion.tgid == vm.pid
        back_end = next((b for b in vm.back_ends if b.pid == suspicion.tgid), None)
        name = self._services.subject(vm) if is_vmm else "back end"
        name = back_end.name if back_end else name
        kept = self._services.is_kept(vm) if is_vmm else None
        while True:
            age_ns = self._watch.clock.now_ns() - suspicion.now_ns
            seen = self._reach.task(suspicion.tgid)
            if suspicion.kind is SuspicionKind.EXITED:
                look = judge_exit(
                    is_vmm=is_vmm,
                    subject=name,
                    code=suspicion.value,
                    since_ns=suspicion.since_ns,
                    age_ns=age_ns,
                    seen=seen,
                    start_ticks=vm.start_ticks if is_vmm else 0,
                    kept=kept,
                )
            else:
                look = judge_stop(
                    is_vmm=is_vmm,
                    subject=name,
                    since_ns=suspicion.since_ns,
                    age_ns=age_ns,
                    limit_ns=self._watch.policy.limits.backend,
                    seen=seen,
                )
            if not isinstance(look, LookAgain):
                return look
            await asyncio.sleep(look.in_ns / SECOND)

    def _look_at_vcpu(self, vm: Vm, slot: int) -> VcpuLook:
        cell = self._watch.books.vcpus[slot]
        tid = int(cell["tid"])
        task = self._reach.thread(vm, tid)
        return VcpuLook(
            own_exits=int(cell["own_exits"]),
            host_exits=int(cell["host_exits"]),
            runtime_ns=task.runtime_ns,
            rip=int(cell["rip"]),
            rflags=int(cell["rflags"]),
            isa=int(cell["isa"]),
            in_guest=self._reach.in_guest(vm, cell, task),
        )

    async def _vcpu(self, vm: Vm, suspicion: Suspicion) -> Look:
        watch = self._watch
        if self._is_up_service(vm):
            return await self._services.look(vm, suspicion)
        if self._guests.is_booting(vm):
            return Refuted("the guest boots")
        first, first_ns = self._look_at_vcpu(vm, suspicion.slot), watch.clock.now_ns()
        if first.own_exits + 1 != int(
            watch.books.vcpus[suspicion.slot]["suspected_exits"]
        ):
            return Refuted("it made an exit of its own since")
        answered: bool | None = None
        while True:
            cells = watch.vcpus_of(vm.slot)
            late = cells["suspected_exits"] == cells["own_exits"] + 1
            now = self._look_at_vcpu(vm, suspicion.slot)
            first = count_from(first, now)
            look = judge_vcpu(
                first,
                now,
                Lateness(
                    suspicion.since_ns,
                    suspicion.value,
                    int(watch.books.vcpus[suspicion.slot]["id"]),
                    int(late.sum()),
                    len(cells),
                ),
                watch.clock.now_ns() - first_ns,
                answered=answered,
            )
            if not isinstance(look, LookAgain):
                return look
            if look.in_ns:
                await asyncio.sleep(look.in_ns / SECOND)
            else:
                silence = await self._guests.look(vm, suspicion)
                answered = not isinstance(silence, Confirmed)

    def recovered(self, vm_slot: int, verdict: Verdict) -> bool:
        """Say whether the debt of an open verdict has been paid since."""
        books, since = self._watch.books, verdict.monotonic_ns
        match verdict.kind:
            case (
                VerdictKind.GUEST_HUNG | VerdictKind.VMM_STOPPED | VerdictKind.VMM_HUNG
            ):
                return self._lives_again(vm_slot, verdict)
            case VerdictKind.VCPU_HUNG:
                cells = self._watch.vcpus_of(vm_slot)
                late = cells["suspected_exits"] == cells["own_exits"] + 1
                return not bool(np.any(late))
            case VerdictKind.SERVICE_HUNG | VerdictKind.PART_HUNG:
                return self._services.recovered(vm_slot, verdict)
            case VerdictKind.SERVICE_CRASHED:
                return False  # it may panic long before its vCPU falls: one end
            case VerdictKind.BACKEND_CRASHED | VerdictKind.VMM_CRASHED:
                return is_event(verdict) or self._is_served_again(vm_slot, verdict)
            case _:
                owes = owing_rings(books, vm_slot, since)
                return not owes and not self._is_stopped(vm_slot, verdict.subject)

    def _lives_again(self, vm_slot: int, verdict: Verdict) -> bool:
        """A sign since, and of a guest that hung also that it consumes."""
        cell, since = self._watch.books.vms[vm_slot], verdict.monotonic_ns
        signs = int(cell["sign_ns"]) > since + RECOVERY_MARGIN_NS
        if verdict.kind is not VerdictKind.GUEST_HUNG:
            return signs
        if unread_rings(self._watch.books, vm_slot):
            return False
        # what it was called for again it may have taken before the verdict was said
        return signs or int(cell["read_ns"]) > verdict.since_ns

    def _is_served_again(self, vm_slot: int, verdict: Verdict) -> bool:
        """Say whether a back end of that name has been started since, and serves."""
        vm = self._watch.vms.get(vm_slot)
        ahead_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        tick_ns = SECOND // os.sysconf("SC_CLK_TCK")
        since = (verdict.since_ns + ahead_ns) // tick_ns
        named = (
            self._reach.task(b.pid)
            for b in (vm.back_ends if vm else ())
            if b.name == verdict.subject and b.pid != verdict.server
        )
        return any(not task.gone and task.start_ticks >= since for task in named)

    def _is_stopped(self, vm_slot: int, name: str) -> bool:
        vm = self._watch.vms.get(vm_slot)
        back_ends = vm.back_ends if vm else ()
        named = (self._reach.task(b.pid) for b in back_ends if b.name == name)
        return any(task.stopped for task in named)

    def unhush_if_running(self, vm: Vm) -> None:
        """Judge a hushed VM again once its vCPUs run, or it gave a sign."""
        cell = self._watch.books.vms[vm.slot]
        open_verdict = any(slot == vm.slot for slot, _ in self._watch.open)
        if not self._reach.out_of_kvm(vm) and not open_verdict:
            cell["hushed"] = 0
            cell["sign_ns"] = self._watch.clock.now_ns()
