# SPDX-License-Identifier: Apache-2.0
"""The case of a ring that is not served: who serves it, and what keeps him."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from observer.cases.reach import STEP_SECONDS
from observer.clock import SECOND
from observer.confirm.backend import (
    LOOKS_APART_NS,
    MAY_BE_AT_WORK,
    BackEndLook,
    blame_vmm,
    halted_since,
    judge_back_end,
    judge_unkicked,
)
from observer.errors import DeadlineError
from observer.inventory.descriptors import eventfd_count, read_descriptors
from observer.inventory.guest_memory import read_ring_words
from observer.inventory.vmm import program_of
from observer.kernel.cells import RingFlag, RingHush, RingKind
from observer.kernel.rings import owes, ring_at
from observer.model import (
    BackEnd,
    Confirmed,
    Look,
    LookAgain,
    Refuted,
    SuspicionKind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observer.cases.reach import Reach
    from observer.inventory.descriptors import Descriptors
    from observer.model import Suspicion, Vm
    from observer.watch import Watch

__all__ = ["BackEndCase"]


class BackEndCase:
    """Looks at back ends on behalf of a `Watch`."""

    def __init__(self, watch: Watch, reach: Reach) -> None:
        self._watch, self._reach = watch, reach
        self._fds: dict[int, int] = {}
        """Ring slot -> the VMM's descriptor of its kick: reading all takes long."""

    async def look(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Look until it is clear whether the back end serves."""
        watch, slot = self._watch, suspicion.slot
        if suspicion.kind is SuspicionKind.UNKICKED:
            return await self._unkicked(vm, suspicion)
        ring = watch.books.rings[slot]
        pid = int(ring["worker_tid"]) or self._server_now(vm, slot)
        uncalled = suspicion.kind is SuspicionKind.UNCALLED
        first, first_ns = self._look_at_server(slot, pid), watch.clock.now_ns()
        # What is offered stays so until it is taken: it can be read while we wait.
        offered = asyncio.ensure_future(self._offered(vm, slot))
        server, out_of_kvm = self._named(vm, pid), self._reach.out_of_kvm(vm)
        if not first.at_rest and not uncalled:
            await asyncio.sleep(LOOKS_APART_NS / SECOND)
        while True:
            now = watch.clock.now_ns()
            look = judge_back_end(
                owes=self._owes(vm, suspicion, await offered),
                first=first,
                now=self._look_at_server(slot, pid),
                limit_ns=watch.policy.limits.backend,
                starved_ns=watch.policy.limits.starved,
                late_ns=now - suspicion.since_ns,
                age_ns=now - first_ns,
                since_ns=suspicion.since_ns,
                ring=ring_at(watch.books, slot).name,
                server=server.name,
                in_kernel=bool(ring["kind"] == RingKind.VHOST),
                uncalled=uncalled,
            )
            if not isinstance(look, LookAgain):
                break
            offered = asyncio.ensure_future(self._offered(vm, slot))
            await asyncio.sleep(look.in_ns / SECOND)
        if look == Refuted(MAY_BE_AT_WORK):  # its custom, unless it calls after all
            watch.books.rings[slot]["hushed"] = RingHush.UNCALLED
        if isinstance(look, Confirmed) and server.pid == vm.pid:
            stopped = self._reach.task(vm.pid).stopped
            return blame_vmm(look, vm.name, stopped=stopped)
        if isinstance(look, Confirmed) and out_of_kvm and await self._held(vm):
            return Refuted("its VMM keeps the guest from running")
        return look

    async def _unkicked(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Whether a vhost worker waits for a kick that nobody is about to make."""
        watch, slot = self._watch, suspicion.slot
        tid = int(watch.books.rings[slot]["worker_tid"])
        kicks = int(watch.books.rings[slot]["kicks"])
        first, first_ns = self._look_at_server(slot, tid), watch.clock.now_ns()
        while True:
            await asyncio.sleep(LOOKS_APART_NS / SECOND)
            offered = await self._offered(vm, slot)
            now = watch.clock.now_ns()
            look = judge_unkicked(
                owes=self._owes(vm, suspicion, offered),
                kicked=int(watch.books.rings[slot]["kicks"]) != kicks,
                at_rest=self._at_rest(vm, suspicion.since_ns),
                first=first,
                now=self._look_at_server(slot, tid),
                late_ns=now - suspicion.since_ns,
                age_ns=now - first_ns,
                since_ns=suspicion.since_ns,
                ring=ring_at(watch.books, slot).name,
                server=self._named(vm, tid).name,
            )
            if not isinstance(look, LookAgain):
                return look

    def _at_rest(self, vm: Vm, since_ns: int) -> bool:
        """Say whether each vCPU has halted since: it is amidst nothing."""
        cells, tasks = self._watch.vcpus_of(vm.slot), self._reach.vcpu_tasks(vm)
        return bool(len(cells)) and all(
            halted_since(
                since_ns=since_ns,
                halt_ns=int(cell["halt_ns"]),
                own_ns=int(cell["own_ns"]),
                asleep=(task := tasks.get(int(cell["tid"]))) is not None
                and task.state == "S",
            )
            for cell in cells
        )

    async def _held(self, vm: Vm) -> bool:
        """A VM that was being paused then takes its rings back one by one."""
        if self._reach.task(vm.pid).stopped:
            return False
        await asyncio.sleep(STEP_SECONDS)
        return self._reach.out_of_kvm(vm)

    def server_of(self, vm: Vm, slot: int, held: Mapping[int, Descriptors]) -> int:
        """Which other process holds a ring's eventfd; the VMM itself if none does."""
        which = self._eventfd_id(slot)
        self._fds[slot] = held[vm.pid].eventfds.get(which, -1)
        for back_end in vm.back_ends:
            if back_end.pid in held and which in held[back_end.pid].eventfds:
                return back_end.pid
        return vm.pid

    def _server_now(self, vm: Vm, slot: int) -> int:
        pids = vm.pid, *(b.pid for b in vm.back_ends)
        held = {pid: read_descriptors(self._watch.proc, pid) for pid in pids}
        return self.server_of(vm, slot, held)

    def _eventfd_id(self, slot: int) -> int:
        return int(self._watch.books.rings[slot]["eventfd_id"])

    def _named(self, vm: Vm, pid: int) -> BackEnd:
        """A back end as it was named when its ring was entered; or a vhost worker."""
        named = next((b for b in vm.back_ends if b.pid == pid), None)
        return named or BackEnd(pid, program_of(self._watch.proc, pid))

    def _kick_count(self, vm: Vm, slot: int) -> int | None:
        """Kicks not yet read; None where the VMM has given the ring another eventfd."""
        which, proc = self._eventfd_id(slot), self._watch.proc
        count = eventfd_count(proc, vm.pid, self._fds.get(slot, -1), which)
        if count is None:
            fds = read_descriptors(proc, vm.pid).eventfds
            fd = self._fds[slot] = fds.get(which, -1)
            count = eventfd_count(proc, vm.pid, fd, which)
        return count

    def _look_at_server(self, slot: int, pid: int) -> BackEndLook:
        """Of a vhost ring as it is in the cell: `_owes` brings that up to date."""
        books = self._watch.books
        task = self._reach.task(pid)
        if books.rings[slot]["kind"] == RingKind.VHOST:
            taken = int(books.rings[slot]["last_avail"])
        else:
            taken = books.last_call_ns(pid)
        return BackEndLook(taken, task.state, task.runtime_ns, task.waited_ns)

    def _owes(self, vm: Vm, suspicion: Suspicion, offered: int | None) -> bool:
        """Whether the debt of the suspicion is open still: what came later is another.

        A ring may have been served since it was raised, and be amidst the next batch.
        """
        books, slot = self._watch.books, suspicion.slot
        if not owes(books, slot, suspicion.since_ns):
            return False
        ring = books.rings[slot]
        if ring["kind"] == RingKind.VHOST:
            live = bool(ring["flags"] & RingFlag.LIVE)  # else the VMM has taken it back
            return live and offered is not None and offered != int(ring["last_avail"])
        # a kick that was taken since is no longer owed, only its call may be
        uncalled = suspicion.kind is SuspicionKind.UNCALLED
        return bool(self._kick_count(vm, slot)) or uncalled

    async def _offered(self, vm: Vm, slot: int) -> int | None:
        """Read in guest memory how far a vhost ring is offered; None: unknown."""
        ring = self._watch.books.rings[slot]
        if ring["kind"] != RingKind.VHOST:
            return None
        where = int(ring["avail_addr"]), int(ring["used_addr"]), int(ring["num"])
        try:
            words = await self._reach.in_thread(
                vm, lambda: read_ring_words(vm.pid, *where)
            )
        except (OSError, DeadlineError):
            return None  # unknown is no evidence
        return words.avail
