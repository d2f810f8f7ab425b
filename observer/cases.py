# SPDX-License-Identifier: Apache-2.0
"""A case: gather evidence, let a pure judge decide, come back when it says so.

All that reaches outward from here has a deadline.  What may wait for a VMM's
mmap_lock runs in a thread, one for each VM at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from observer.clock import MS, SECOND
from observer.confirm.backend import BackEndLook, judge_back_end
from observer.confirm.guest import GuestLook, fair_step_ns, judge_guest
from observer.confirm.process import judge_exit
from observer.confirm.vcpu import Lateness, VcpuLook, judge_vcpu
from observer.errors import DeadlineError
from observer.inventory.guest_memory import RingWords, read_ring_words
from observer.inventory.qmp import ask_run_state
from observer.inventory.task import TaskLook, in_kvm_run, look_at_task, tasks_of
from observer.inventory.vmm import eventfd_count, eventfd_ids, program_of
from observer.kernel.cells import RingFlag, RingHush, RingKind
from observer.model import (
    BackEnd,
    Confirmed,
    Look,
    LookAgain,
    Refuted,
    RunState,
    SuspicionKind,
    VerdictKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from observer.model import Suspicion, Verdict, Vm
    from observer.watch import Watch

    T = TypeVar("T")

__all__ = ["Cases"]

READ_SECONDS = 0.5
STEP_SECONDS = 0.01
STOPPED_LOOKS = 2
HELD_TRIES = 4
HELD_SECONDS = 0.25
HELD_WORK_NS = 2 * MS
RECOVERY_MARGIN_NS = 1 * MS


class Cases:
    """Looks at subjects on behalf of a `Watch`."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._reading: set[int] = set()

    async def look(self, vm: Vm, suspicion: Suspicion) -> Look:
        """Look until it is clear whether the suspicion holds."""
        match suspicion.kind:
            case SuspicionKind.EXITED:
                return await self._exit(vm, suspicion)
            case SuspicionKind.VCPU:
                return await self._vcpu(vm, suspicion)
            case SuspicionKind.CALLED | SuspicionKind.UNANSWERED:
                return await self._guest(vm, suspicion)
            case _:
                return await self._back_end(vm, suspicion)

    # -- outward ----------------------------------------------------------------

    async def _in_thread(self, vm: Vm, read: Callable[[], T]) -> T:
        """Run what may block; raises DeadlineError when it does."""
        if vm.pid in self._reading:
            raise DeadlineError(f"A read of {vm.name}'s memory still hangs.")
        self._reading.add(vm.pid)
        future = asyncio.get_running_loop().run_in_executor(None, read)
        future.add_done_callback(lambda _: self._reading.discard(vm.pid))
        try:
            return await asyncio.wait_for(asyncio.shield(future), READ_SECONDS)
        except TimeoutError as e:
            raise DeadlineError(f"{vm.name}'s memory cannot be read.") from e

    def _task(self, pid: int) -> TaskLook:
        return look_at_task(self._watch.proc / str(pid))

    # -- a process --------------------------------------------------------------

    async def _exit(self, vm: Vm, suspicion: Suspicion) -> Look:
        is_vmm = suspicion.tgid == vm.pid
        back_end = next((b for b in vm.back_ends if b.pid == suspicion.tgid), None)
        name = vm.name if is_vmm else (back_end.name if back_end else "back end")
        while True:
            look = judge_exit(
                is_vmm=is_vmm,
                subject=name,
                code=suspicion.value,
                since_ns=suspicion.since_ns,
                age_ns=self._watch.clock.now_ns() - suspicion.now_ns,
                seen=self._task(suspicion.tgid),
                start_ticks=vm.start_ticks if is_vmm else 0,
            )
            if not isinstance(look, LookAgain):
                return look
            await asyncio.sleep(look.in_ns / SECOND)

    # -- a vCPU -----------------------------------------------------------------

    def _look_at_vcpu(self, vm: Vm, slot: int) -> VcpuLook:
        cell = self._watch.books.vcpus[slot]
        task = look_at_task(
            self._watch.proc / str(vm.pid) / "task" / str(int(cell["tid"]))
        )
        return VcpuLook(
            own_exits=int(cell["own_exits"]),
            host_exits=int(cell["host_exits"]),
            runtime_ns=task.runtime_ns,
            rip=int(cell["rip"]),
            rflags=int(cell["rflags"]),
            isa=int(cell["isa"]),
        )

    async def _vcpu(self, vm: Vm, suspicion: Suspicion) -> Look:
        watch = self._watch
        if self._is_booting_now(vm):
            return Refuted("the guest boots")
        first = self._look_at_vcpu(vm, suspicion.slot)
        if first.own_exits + 1 != int(
            watch.books.vcpus[suspicion.slot]["suspected_exits"]
        ):
            return Refuted("it made an exit of its own since")
        answered: bool | None = None
        while True:
            cells = watch.vcpus_of(vm.slot)
            late = cells["suspected_exits"] == cells["own_exits"] + 1
            look = judge_vcpu(
                first,
                self._look_at_vcpu(vm, suspicion.slot),
                Lateness(
                    suspicion.since_ns,
                    suspicion.value,
                    int(watch.books.vcpus[suspicion.slot]["id"]),
                    int(late.sum()),
                    len(cells),
                ),
                watch.clock.now_ns() - suspicion.now_ns,
                answered=answered,
            )
            if not isinstance(look, LookAgain):
                return look
            if look.in_ns:
                await asyncio.sleep(look.in_ns / SECOND)
            else:
                silence = await self._guest(vm, suspicion)
                answered = not isinstance(silence, Confirmed)

    # -- a back end -------------------------------------------------------------

    def server_of(self, vm: Vm, eventfd_id: int) -> BackEnd:
        """Who else holds this eventfd; the VMM itself if nobody does."""
        for back_end in vm.back_ends:
            if eventfd_id in eventfd_ids(self._watch.proc, back_end.pid):
                return back_end
        return BackEnd(vm.pid, program_of(self._watch.proc, vm.pid))

    def _ring_name(self, slot: int) -> str:
        ring = self._watch.books.rings[slot]
        if ring["kind"] == RingKind.USER:
            return f"the ring at doorbell {int(ring['doorbell']):#x}"
        role = "transmit" if ring["flags"] & RingFlag.SERVES_KICK else "receive"
        return f"{role} ring {int(ring['index'])}"

    def _look_at_back_end(self, vm: Vm, slot: int, server: BackEnd) -> BackEndLook:
        books = self._watch.books
        ring = books.rings[slot]
        task = self._task(server.pid)
        if ring["kind"] == RingKind.VHOST:
            known = books.look_at_ring(slot)
            taken = int(ring["last_avail"])
            live = bool(ring["flags"] & RingFlag.LIVE)  # else the VMM has taken it back
            owes = known and live and taken != int(ring["avail"])
        else:
            count = eventfd_count(self._watch.proc, vm.pid, int(ring["eventfd_id"]))
            owes = bool(ring["since_ns"]) and count is not None
            taken = books.last_call_ns(server.pid) + (0 if count else 1)
        return BackEndLook(owes, taken, task.state, task.runtime_ns, task.waited_ns)

    async def _back_end(self, vm: Vm, suspicion: Suspicion) -> Look:
        watch, slot = self._watch, suspicion.slot
        ring = watch.books.rings[slot]
        if ring["kind"] == RingKind.VHOST:
            tid = int(ring["worker_tid"])
            server = BackEnd(tid, program_of(watch.proc, tid))
        else:
            server = self.server_of(vm, int(ring["eventfd_id"]))
        first = self._look_at_back_end(vm, slot, server)
        while True:
            now = watch.clock.now_ns()
            look = judge_back_end(
                first=first,
                now=self._look_at_back_end(vm, slot, server),
                limit_ns=watch.policy.limits.backend,
                late_ns=now - suspicion.since_ns,
                age_ns=now - suspicion.now_ns,
                since_ns=suspicion.since_ns,
                ring=self._ring_name(slot),
                server=server.name,
                uncalled=suspicion.kind is SuspicionKind.UNCALLED,
            )
            if not isinstance(look, LookAgain):
                break
            await asyncio.sleep(look.in_ns / SECOND)
        if isinstance(look, Refuted) and suspicion.kind is SuspicionKind.UNCALLED:
            watch.books.rings[slot]["hushed"] = RingHush.UNCALLED
        if isinstance(look, Confirmed) and server.pid == vm.pid:
            return self._blame_vmm(vm, look)
        if isinstance(look, Confirmed) and await self._held_on_purpose(vm):
            return Refuted("its VMM keeps the guest from running")
        return look

    async def _held_on_purpose(self, vm: Vm) -> bool:
        """A VM that is being paused takes its rings back one by one."""
        if self._task(vm.pid).stopped or not self._out_of_kvm(vm):
            return False
        await asyncio.sleep(STEP_SECONDS)
        return self._out_of_kvm(vm)

    def _blame_vmm(self, vm: Vm, look: Confirmed) -> Confirmed:
        """A ring that QEMU itself serves: the VMM is what hangs."""
        stopped = self._task(vm.pid).stopped
        kind = VerdictKind.VMM_STOPPED if stopped else VerdictKind.VMM_HUNG
        return Confirmed(kind, vm.name, look.since_ns, look.evidence)

    # -- a guest ----------------------------------------------------------------

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

    def _is_booting_now(self, vm: Vm) -> bool:
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
        words = await self._in_thread(vm, lambda: self._read_words(vm, slots))
        flags = watch.books.rings[slots]["flags"]
        return GuestLook(
            sign_ns=int(watch.books.vms[vm.slot]["sign_ns"]),
            words=words,
            sleeping=all(t.state == "S" for t in self._vcpu_tasks(vm).values()),
            consumption_visible=bool((flags & RingFlag.EVENT_IDX).any()),
        )

    def _vcpu_tasks(self, vm: Vm) -> dict[int, TaskLook]:
        folder = self._watch.proc / str(vm.pid) / "task"
        tids = [int(t) for t in self._watch.vcpus_of(vm.slot)["tid"]]
        return {tid: look_at_task(folder / str(tid)) for tid in tids}

    def _out_of_kvm(self, vm: Vm) -> bool:
        """No vCPU is in KVM_RUN: the VMM keeps them from running."""
        folder = self._watch.proc / str(vm.pid) / "task"
        return not any(in_kvm_run(folder / str(t)) for t in self._vcpu_tasks(vm))

    async def _stopped(self, vm: Vm) -> bool:
        """SIGSTOP, seen twice: a stop that ends at once is nobody's business."""
        for _ in range(STOPPED_LOOKS):
            if not self._task(vm.pid).stopped:
                return False
            await asyncio.sleep(STEP_SECONDS)
        return True

    async def _run_state(self, vm: Vm) -> tuple[RunState, str]:
        if vm.qmp is None:
            return RunState.UNKNOWN, "no QMP socket"
        seconds = self._watch.policy.limits.qmp / SECOND
        return await ask_run_state(vm.qmp, seconds)

    async def _guest(self, vm: Vm, suspicion: Suspicion) -> Look:  # noqa: PLR0911
        watch = self._watch
        if await self._stopped(vm):
            return Confirmed(
                VerdictKind.VMM_STOPPED,
                vm.name,
                suspicion.since_ns,
                f"{vm.name} is stopped by a signal or a tracer",
            )
        if self._out_of_kvm(vm):
            return await self._held(vm, suspicion)
        if self._is_booting_now(vm):
            return Refuted("the guest boots")
        state = asyncio.create_task(self._run_state(vm))
        try:
            look = await self._ask_again(vm, suspicion)
        except DeadlineError as e:
            look = Refuted(str(e))
        if not isinstance(look, Confirmed):
            state.cancel()
            watch.books.vms[vm.slot]["sign_ns"] = watch.clock.now_ns()
            return look
        watch.hush(vm)
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
        before = self._runtime_ns(vm)
        for turn in range(HELD_TRIES):
            try:
                ran, word = await self._run_state(vm)
                break
            except DeadlineError as e:
                await asyncio.sleep(HELD_SECONDS)
                if not self._out_of_kvm(vm):
                    return Refuted("its vCPUs run again")
                if self._runtime_ns(vm) > before + HELD_WORK_NS:
                    watch.hush(vm)
                    return Refuted("its VMM is at work: a snapshot, a migration")
                if turn == HELD_TRIES - 1:
                    return Confirmed(
                        VerdictKind.VMM_HUNG,
                        vm.name,
                        suspicion.since_ns,
                        f"no vCPU is in KVM_RUN, no thread works, and {e}",
                    )
        if ran is RunState.RUNNING and self._out_of_kvm(vm):
            return Refuted("its vCPUs are between two runs")
        watch.hush(vm)
        return Refuted(f"its VMM keeps it from running: {word}")

    def _runtime_ns(self, vm: Vm) -> int:
        """CPU time of all threads of a VMM."""
        folder = self._watch.proc / str(vm.pid) / "task"
        tids = tasks_of(self._watch.proc, vm.pid)
        return sum(look_at_task(folder / str(t)).runtime_ns for t in tids)

    async def _ask_again(self, vm: Vm, suspicion: Suspicion) -> Look:
        watch = self._watch
        slots = self._receive_rings(vm)
        asked = await self._look_at_guest(vm, slots)
        asked_ns = watch.clock.now_ns()
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
            last_ns = now_ns
            look = judge_guest(
                asked=asked,
                now=await self._look_at_guest(vm, slots),
                asked_ns=asked_ns,
                since_ns=suspicion.since_ns,
                fair_ns=fair_ns,
                elapsed_ns=now_ns - asked_ns,
                limit_ns=watch.policy.limits.answer,
                tap=tap,
            )
            if not isinstance(look, LookAgain):
                return look

    def _tasks_to_answer(self, vm: Vm, slots: list[int]) -> dict[int, TaskLook]:
        """Threads that an answer needs: vCPUs, and the workers of its rings."""
        tasks = self._vcpu_tasks(vm)
        for slot in slots:
            tid = int(self._watch.books.rings[slot]["worker_tid"])
            tasks[tid] = self._task(tid)
        return tasks

    # -- recovery ---------------------------------------------------------------

    def recovered(self, vm_slot: int, verdict: Verdict) -> bool:
        """Say whether the debt of an open verdict has been paid since."""
        books, since = self._watch.books, verdict.monotonic_ns
        match verdict.kind:
            case (
                VerdictKind.GUEST_HUNG | VerdictKind.VMM_STOPPED | VerdictKind.VMM_HUNG
            ):
                return int(books.vms[vm_slot]["sign_ns"]) > since + RECOVERY_MARGIN_NS
            case VerdictKind.VCPU_HUNG:
                cells = self._watch.vcpus_of(vm_slot)
                late = cells["suspected_exits"] == cells["own_exits"] + 1
                return not bool(np.any(late))
            case VerdictKind.BACKEND_CRASHED | VerdictKind.VMM_CRASHED:
                return True  # an event, not a state: it is told once
            case _:
                slots = self._watch.ring_slots(vm_slot)
                return not bool(np.any(books.rings[slots]["since_ns"]))

    def unhush_if_running(self, vm: Vm) -> None:
        """Judge a hushed VM again once its vCPUs run, or it gave a sign."""
        cell = self._watch.books.vms[vm.slot]
        open_verdict = any(slot == vm.slot for slot, _ in self._watch.open)
        if not self._out_of_kvm(vm) and not open_verdict:
            cell["hushed"] = 0
            cell["sign_ns"] = self._watch.clock.now_ns()
