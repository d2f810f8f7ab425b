# SPDX-License-Identifier: Apache-2.0
"""The case of a service VM: it is silent, or one of its parts does no work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from observer.clock import SECOND
from observer.confirm.service import (
    Moment,
    PartLook,
    answer_time_ns,
    judge_fall,
    judge_part,
    judge_service,
)
from observer.errors import ProgramError
from observer.kernel.cells import RingKind
from observer.kernel.exits import is_triple_fault
from observer.model import (
    Look,
    LookAgain,
    Refuted,
    SuspicionKind,
    VerdictKind,
)
from observer.services.abi import Abi
from observer.services.control import is_heard, say
from observer.services.folder import RUNTIME, service_folder
from observer.services.identity import is_service_user
from observer.services.record import SPARE, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from observer.cases.reach import Reach
    from observer.model import Suspicion, Verdict, Vm
    from observer.services.folder import ServiceFolder
    from observer.watch import Watch

__all__ = ["ServiceCase"]


class ServiceCase:
    """Looks at service VMs on behalf of a `Watch`."""

    def __init__(self, watch: Watch, reach: Reach, runtime: Path = RUNTIME) -> None:
        self._watch, self._reach, self._runtime = watch, reach, runtime
        self._abi = Abi.of_header()
        self._folders: dict[str, ServiceFolder | None] = {}
        self._controls: dict[str, Path] = {}
        """By monitor."""

    async def look(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Look until it is clear whether the service, or its part, hangs."""
        if (control := self._control(vm)) is None:
            # any guest can make this hypercall
            self._watch.books.services[vm.slot]["ignored"] = 1
            return Refuted("it beats, yet is no service of this host")
        if suspicion.kind is SuspicionKind.PART:  # it beats, so it is not paused
            return await self._part(vm, suspicion)
        return await self._service(vm, suspicion, control)

    def _folder(self, vm: Vm) -> ServiceFolder | None:
        """None of a VM that is no service, whatever its guest says."""
        if not is_service_user(vm.user):
            return None
        if vm.name not in self._folders:  # paths take long to join, while a look waits
            self._folders[vm.name] = service_folder(self._runtime, vm.name)
        return self._folders[vm.name]

    def _control(self, vm: Vm) -> Path | None:
        """The control port of a service's VM; None of a VM that is none."""
        folder = self._folder(vm)
        if folder is None or vm.qmp is None:
            return None
        control = self._controls.get(vm.qmp)
        if control is None:
            control = self._controls[vm.qmp] = folder.vm_of(vm.qmp).control
        return control if control.exists() else None

    def is_service(self, vm: Vm) -> bool:
        """Whether it is a service VM of this host's."""
        return self._control(vm) is not None

    def stands_by(self, vm: Vm) -> bool:
        """Whether it is the spare of a service."""
        folder = self._folder(vm)
        if folder is None or vm.qmp is None:
            return False
        return folder.stands_by(vm.qmp)

    def subject(self, vm: Vm) -> str:
        """The VM as a verdict names it: of a service's two the spare as a part."""
        return f"{vm.name}/{SPARE}" if self.stands_by(vm) else vm.name

    def beats(self, vm: Vm) -> bool:
        """Whether it is a service that has said so itself."""
        said = bool(self._watch.books.services[vm.slot]["beats"])
        return said and self.is_service(vm)

    def is_up(self, vm: Vm) -> bool:
        """Whether its keeper says that it has come up, to serve or to stand by."""
        folder = self._folder(vm)
        record = read_record(folder) if folder is not None else None
        return record is not None and vm.pid in (record.pid, record.spare)

    def is_ending(self, vm: Vm) -> bool:
        """Whether it is a service that its keeper has ended, still there or not."""
        folder = self._folder(vm)
        return folder is not None and folder.is_ending(vm.pid)

    def is_kept(self, vm: Vm) -> bool | None:
        """Whether its keeper means it to run; None of a VM that is no service."""
        folder = self._folder(vm)
        if folder is None:
            return None
        if folder.has_ended(vm.pid):
            return False
        record = read_record(folder)  # with another process in it: it has a successor
        has_none = record is None or record.pid in (None, vm.pid)
        return has_none or self.stands_by(vm)

    def _sign_ns(self, slot: int) -> int:
        books = self._watch.books
        own = (int(ns) for ns in self._watch.vcpus_of(slot)["own_ns"])
        signs = books.vms[slot]["sign_ns"], books.services[slot]["beat_ns"]
        return max(*map(int, signs), *own)

    def _moment(self, vm: Vm) -> Moment:
        vcpus = self._watch.vcpus_of(vm.slot)
        tid = int(self._watch.books.services[vm.slot]["tid"])
        if not tid and len(vcpus):  # it has not said yet which of them beats
            tid = int(vcpus[0]["tid"])
        task = self._reach.thread(vm, tid)
        fell = any(is_triple_fault(int(v["isa"]), int(v["reason"])) for v in vcpus)
        its = next((v for v in vcpus if v["tid"] == tid), None)
        held = fell or its is None or not self._reach.in_guest(vm, its, task)
        now_ns = self._watch.clock.now_ns()
        return Moment(now_ns, task.runtime_ns, task.state == "R", held, task.stopped)

    async def _service(self, vm: Vm, suspicion: Suspicion, control: Path) -> Look:
        """Ask it for a beat, and wait for one on its vCPU's fair clock."""
        first_ns = self._sign_ns(vm.slot)
        if first_ns > suspicion.since_ns:
            return Refuted("it beats")
        try:
            wire = say(control, "beat")
        except ProgramError:
            wire = None
        try:
            # after it was asked: what is looked at here is part of its time to answer
            now, fair_ns = self._moment(vm), 0
            name = self.subject(vm)
            while True:
                before, now = now, self._moment(vm)
                if now.stopped and (
                    stopped := await self._reach.stopped(vm, suspicion.since_ns)
                ):
                    return stopped
                fair_ns += answer_time_ns(before, now)
                look = judge_service(
                    name=name,
                    first_sign_ns=first_ns,
                    sign_ns=self._sign_ns(vm.slot),
                    fair_ns=fair_ns,
                    age_ns=now.now_ns - suspicion.now_ns,
                    late_ns=now.now_ns - suspicion.since_ns,
                    since_ns=suspicion.since_ns,
                    asked=wire is not None and is_heard(wire),
                )
                if not isinstance(look, LookAgain):
                    return look
                await asyncio.sleep(look.in_ns / SECOND)
        finally:
            if wire is not None:
                wire.close()

    def fell(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Of one that panics, or met a triple fault: others may reset so."""
        cell = self._watch.books.vcpus[suspicion.slot]
        return judge_fall(
            name=self.subject(vm),
            is_service=self.is_service(vm),
            vcpu=int(cell["id"]),
            fell=is_triple_fault(int(cell["isa"]), int(cell["reason"])),
            panics=bool(self._watch.books.services[vm.slot]["panicked"]),
            since_ns=suspicion.since_ns,
        )

    def _look_at_part(self, slot: int, number: int) -> PartLook:
        cell = self._watch.books.services[slot]
        part = cell["parts"][number]
        return PartLook(int(cell["beats"]), int(part["done"]), int(part["given"]))

    def name_of(self, vm: Vm, number: int) -> str:
        """A part as an operator knows it."""
        service = int(self._watch.books.services[vm.slot]["service"])
        return f"{vm.name}/{self._abi.part_name(service, number)}"

    def _back_end_owes(self, slot: int) -> bool:
        """Of vhost: what QEMU itself works on is in no part's books."""
        rings = (self._watch.books.rings[s] for s in self._watch.ring_slots(slot))
        return any(r["since_ns"] for r in rings if r["kind"] == RingKind.VHOST)

    async def _part(self, vm: Vm, suspicion: Suspicion) -> Look:
        clock, number = self._watch.clock, suspicion.slot
        first, first_ns = self._look_at_part(vm.slot, number), clock.now_ns()
        while True:
            now_ns = clock.now_ns()
            look = judge_part(
                name=self.name_of(vm, number),
                first=first,
                now=self._look_at_part(vm.slot, number),
                back_end_owes=self._back_end_owes(vm.slot),
                age_ns=now_ns - first_ns,
                late_ns=now_ns - suspicion.since_ns,
                since_ns=suspicion.since_ns,
                silence_ns=self._watch.policy.limits.service * 2,
            )
            if not isinstance(look, LookAgain):
                return look
            await asyncio.sleep(look.in_ns / SECOND)

    def recovered(self, vm_slot: int, verdict: Verdict) -> bool:
        """Say whether the service beats, or the part works, since the verdict."""
        if verdict.kind is VerdictKind.SERVICE_HUNG:
            return self._sign_ns(vm_slot) > verdict.monotonic_ns
        vm, cell = self._watch.vms.get(vm_slot), self._watch.books.services[vm_slot]
        if vm is None:
            return True
        return all(
            int(part["paid_ns"]) > verdict.monotonic_ns
            for k, part in enumerate(cell["parts"])
            if self.name_of(vm, k) == verdict.subject
        )
