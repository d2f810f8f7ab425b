# SPDX-License-Identifier: Apache-2.0
"""The case of a guest that gave no sign: is it held, booting, busy, or hung."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from observer.actuators.eventfd import write_eventfds
from observer.cases.reach import STEP_SECONDS
from observer.clock import MS, SECOND
from observer.confirm.guest import (
    NETWORK_DOWN,
    GuestLook,
    fair_step_ns,
    has_consumed,
    judge_guest,
    sleeps_over,
)
from observer.confirm.halt import HaltLook, judge_halt
from observer.errors import DeadlineError, UnfitError
from observer.inventory.guest_memory import RingWords, read_ring_words
from observer.kernel.cells import RingFlag, RingKind
from observer.kernel.rings import (
    begin_to_read_anew,
    note_down,
    receive_rings,
    unread_rings,
)
from observer.model import (
    Confirmed,
    Look,
    LookAgain,
    Refuted,
    RunState,
    SuspicionKind,
    VerdictKind,
)

if TYPE_CHECKING:
    from observer.cases.reach import Reach
    from observer.inventory.task import TaskLook
    from observer.model import Suspicion, Vm
    from observer.watch import Watch

__all__ = ["GuestCase"]

HELD_TRIES = 4
HELD_SECONDS = 0.25
HELD_WORK_NS = 2 * MS
LAST_WORDS_NS = 1 * SECOND
LAST_WORDS_STEP_SECONDS = 0.05


class GuestCase:
    """Looks at guests on behalf of a `Watch`."""

    def __init__(self, watch: Watch, reach: Reach) -> None:
        self._watch, self._reach = watch, reach

    async def look(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Look until it is clear whether the guest hangs."""
        if stopped := await self._reach.stopped(vm, suspicion.since_ns):
            return stopped
        if suspicion.kind is SuspicionKind.PANIC:
            return await self._panicked(vm, suspicion)
        if self._reach.out_of_kvm(vm):
            return await self._held(vm, suspicion)
        if self.is_booting(vm):
            return Refuted("the guest boots")
        if suspicion.kind is SuspicionKind.HALTED:
            return await self._halted(vm, suspicion)
        return await self._silent(vm, suspicion)

    async def _silent(self, vm: Vm, suspicion: Suspicion) -> Look:
        """It is asked, once more or for the first time."""
        watch = self._watch
        if not vm.taps:  # whatever its rings say, it may just have nothing to do
            watch.books.vms[vm.slot]["sign_ns"] = watch.clock.now_ns()
            return Refuted("it has no tap that it could be asked on")
        state = asyncio.create_task(self._reach.run_state(vm))
        try:
            look = await self._ask_again(vm, suspicion)
        except DeadlineError as e:
            look = Refuted(str(e))
        if not isinstance(look, Confirmed):
            state.cancel()
            watch.books.vms[vm.slot]["sign_ns"] = watch.clock.now_ns()
            if look == Refuted(NETWORK_DOWN):
                note_down(watch.books, vm.slot)
            begin_to_read_anew(watch.books, vm.slot)
            return look
        return await self._unless_paused(vm, look, state)

    async def _panicked(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Its console says so: others of its vCPUs may answer for a while.

        The one that says it is in KVM_RUN and out of it, for each character.
        """
        if self.is_booting(vm):
            return Refuted("the guest boots")
        now_ns = self._watch.clock.now_ns
        while True:
            look = await self._silent(vm, suspicion)
            if isinstance(look, Confirmed):
                evidence = f"its console says that its kernel panics; {look.evidence}"
                return msgspec.structs.replace(look, evidence=evidence)
            if not vm.taps or now_ns() - suspicion.now_ns > LAST_WORDS_NS:
                return look
            await asyncio.sleep(LAST_WORDS_STEP_SECONDS)

    def _look_at_halts(self, vm: Vm) -> list[HaltLook]:
        thread = self._reach.thread
        return [
            HaltLook(
                own_exits=int(cell["own_exits"]),
                halted=bool(cell["halt_ns"] == cell["own_ns"])
                and thread(vm, int(cell["tid"])).state == "S",
                isa=int(cell["isa"]),
                rip=int(cell["rip"]),
                rflags=int(cell["rflags"]),
            )
            for cell in self._watch.vcpus_of(vm.slot)
        ]

    async def _halted(self, vm: Vm, suspicion: Suspicion) -> Look:
        """A vCPU of its sleeps for good: so may all."""
        clock, began_ns = self._watch.clock, self._watch.clock.now_ns()
        state = asyncio.create_task(self._reach.run_state(vm))
        look: Look = LookAgain(0, "it was not looked at twice yet")
        now = self._look_at_halts(vm)
        while isinstance(look, LookAgain):
            await asyncio.sleep(STEP_SECONDS)
            before, now = now, self._look_at_halts(vm)
            age_ns = clock.now_ns() - began_ns
            look = judge_halt(before, now, since_ns=suspicion.since_ns, age_ns=age_ns)
        if not isinstance(look, Confirmed):
            state.cancel()
            return look
        return await self._unless_paused(vm, look, state)

    async def _unless_paused(
        self, vm: Vm, look: Confirmed, state: asyncio.Task[tuple[RunState, str]]
    ) -> Look:
        """It hangs; unless its VMM says that it is not meant to run."""
        self._watch.hush(vm)
        try:
            ran, word = await state
        except DeadlineError as e:
            evidence = f"{look.evidence}; {e}"
            return Confirmed(look.kind, look.subject, look.since_ns, evidence)
        if ran is RunState.PAUSED:
            return Refuted(f"QEMU says that it is {word}")
        return look

    async def _held(self, vm: Vm, suspicion: Suspicion) -> Look:
        """No vCPU is in KVM_RUN: paused on purpose, or the VMM is stuck."""
        watch = self._watch
        before = self._reach.runtime_ns(vm)
        for turn in range(HELD_TRIES):
            try:
                ran, word = await self._reach.run_state(vm)
                break
            except DeadlineError as e:
                await asyncio.sleep(HELD_SECONDS)
                if not self._reach.out_of_kvm(vm):
                    return Refuted("its vCPUs run again")
                if self._reach.runtime_ns(vm) > before + HELD_WORK_NS:
                    watch.hush(vm)
                    return Refuted("its VMM is at work: a snapshot, a migration")
                if turn == HELD_TRIES - 1:
                    return Confirmed(
                        VerdictKind.VMM_HUNG,
                        vm.name,
                        suspicion.since_ns,
                        f"no vCPU is in KVM_RUN, no thread works, and {e}",
                    )
        if ran is RunState.RUNNING:
            return Refuted("its vCPUs are between two runs")
        watch.hush(vm)
        return Refuted(f"its VMM keeps it from running: {word}")

    async def _ask_again(self, vm: Vm, suspicion: Suspicion) -> Look:
        watch = self._watch
        slots = self._rings_asked(vm, suspicion)
        last = asked = await self._look_at_guest(vm, slots)
        if suspicion.kind is SuspicionKind.UNCONSUMED and has_consumed(asked):
            return Refuted("it has consumed what it was called for")
        called_ns, asked_ns = None, watch.clock.now_ns()
        tap = watch.questions.ask(vm.taps)
        fair_ns, last_ns, tasks = 0, asked_ns, self._tasks_to_answer(vm, slots)
        while True:
            await asyncio.sleep(STEP_SECONDS)
            now_ns, before = watch.clock.now_ns(), tasks
            tasks = self._tasks_to_answer(vm, slots)
            steps = [
                fair_step_ns(
                    now_ns - last_ns,
                    t.state == "R",
                    t.runtime_ns - before[tid].runtime_ns,
                )
                for tid, t in tasks.items()
                if tid in before
            ]
            if not steps:
                return Refuted("it is gone")
            fair_ns += min(steps)
            last_ns, before_that = now_ns, last
            last = await self._look_at_guest(vm, slots)
            if called_ns is None and sleeps_over(before_that, last):
                called_ns, fair_ns = watch.clock.now_ns(), 0
                await self._call_again(vm, last)
            look = judge_guest(
                asked=asked,
                now=last,
                asked_ns=asked_ns,
                called_ns=called_ns,
                since_ns=suspicion.since_ns,
                fair_ns=fair_ns,
                elapsed_ns=now_ns - asked_ns,
                limit_ns=watch.policy.limits.answer,
                tap=tap,
            )
            if not isinstance(look, LookAgain):
                return look

    async def _call_again(self, vm: Vm, look: GuestLook) -> None:
        """Its interrupt, as its back end gives it; to be called twice does no harm."""
        unread = {s for s, w in look.words.items() if w.used != w.used_event}
        rings = receive_rings(self._watch.books, vm.slot)
        ids = [r.call_id for r in rings if r.slot in unread and r.call_id]
        with suppress(UnfitError):  # its driver just went
            await self._reach.in_thread(vm, lambda: write_eventfds(vm, ids))

    def _tasks_to_answer(self, vm: Vm, slots: list[int]) -> dict[int, TaskLook]:
        """Threads that an answer needs: vCPUs, and the workers of its rings."""
        tasks = self._reach.vcpu_tasks(vm)
        for slot in slots:
            tid = int(self._watch.books.rings[slot]["worker_tid"])
            tasks[tid] = self._reach.task(tid)
        return tasks

    def _rings_asked(self, vm: Vm, suspicion: Suspicion) -> list[int]:
        """Those that show consumption; of a guest that lives on, those that stand."""
        slots = self._receive_rings(vm)
        if suspicion.kind is not SuspicionKind.UNCONSUMED:
            return slots
        standing = unread_rings(self._watch.books, vm.slot)
        return [slot for slot in slots if slot in standing]

    def _receive_rings(self, vm: Vm) -> list[int]:
        rings = self._watch.books.rings
        return [
            slot
            for slot in self._watch.ring_slots(vm.slot)
            if rings[slot]["kind"] == RingKind.VHOST
            and self._watch.books.look_at_ring(slot)
            and rings[slot]["flags"] & RingFlag.LIVE
            and not rings[slot]["flags"] & (RingFlag.SERVES_KICK | RingFlag.PACKED)
        ]

    def is_booting(self, vm: Vm) -> bool:
        """Say whether the guest is not up yet, by its rings as they are now."""
        for slot in self._watch.ring_slots(vm.slot):
            self._watch.books.look_at_ring(slot)
        return self._watch.is_booting(vm.slot)

    def _read_words(self, vm: Vm, slots: list[int]) -> dict[int, RingWords]:
        found = {}
        for slot in slots:
            ring = self._watch.books.rings[slot]
            try:
                found[slot] = read_ring_words(
                    vm.pid,
                    int(ring["avail_addr"]),
                    int(ring["used_addr"]),
                    int(ring["num"]),
                )
            except OSError:
                continue  # the guest's driver just went; other rings may tell
        return found

    async def _look_at_guest(self, vm: Vm, slots: list[int]) -> GuestLook:
        watch = self._watch
        # first: a halt after the words were read would say nothing of them
        sign_ns = int(watch.books.vms[vm.slot]["sign_ns"])
        words = await self._reach.in_thread(vm, lambda: self._read_words(vm, slots))
        flags = watch.books.rings[slots]["flags"]
        return GuestLook(
            sign_ns=sign_ns,
            words=words,
            sleeping=all(t.state == "S" for t in self._reach.vcpu_tasks(vm).values()),
            consumption_visible=bool((flags & RingFlag.EVENT_IDX).any()),
            stands_unread=bool(unread_rings(watch.books, vm.slot)),
        )
