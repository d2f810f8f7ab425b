# SPDX-License-Identifier: Apache-2.0
"""What a case reaches outward for: threads, run states, a VMM's memory.

All of it has a deadline.  What may wait for a VMM's mmap_lock runs in a thread, one
for each VM at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from observer.clock import SECOND
from observer.errors import DeadlineError
from observer.inventory.qmp import ask_run_state
from observer.inventory.task import (
    TaskLook,
    in_guest,
    in_kvm_run,
    look_at_task,
    tasks_of,
)
from observer.model import Confirmed, RunState, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    import numpy as np

    from observer.model import Vm
    from observer.watch import Watch

    T = TypeVar("T")

__all__ = ["STEP_SECONDS", "Reach"]

READ_SECONDS = 0.5
STEP_SECONDS = 0.01
STOPPED_LOOKS = 2


class Reach:
    """Reads of the host on behalf of a `Watch`."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def in_thread(self, vm: Vm, read: Callable[[], T]) -> T:
        """Run what may block, after others of this VM; DeadlineError when it does."""
        turn = self._turns.setdefault(vm.pid, asyncio.Lock())
        try:
            async with asyncio.timeout(READ_SECONDS):
                await turn.acquire()
                future = asyncio.get_running_loop().run_in_executor(None, read)
                # a read that hangs keeps its turn, and so its one thread
                future.add_done_callback(lambda _: turn.release())
                return await asyncio.shield(future)
        except TimeoutError as e:
            raise DeadlineError(f"{vm.name}'s memory cannot be read.") from e

    def task(self, pid: int) -> TaskLook:
        """Look at a process's leader."""
        return look_at_task(f"{self._watch.proc}/{pid}")

    def _thread_folder(self, vm: Vm, tid: int) -> str:
        return f"{self._watch.proc}/{vm.pid}/task/{tid}"

    def thread(self, vm: Vm, tid: int) -> TaskLook:
        """Look at one thread of a VMM."""
        return look_at_task(self._thread_folder(vm, tid))

    def in_guest(self, vm: Vm, vcpu: np.void, task: TaskLook) -> bool:
        """Whether a vCPU's thread is its guest's, and not at work for its VMM."""
        met = bool(vcpu["host_exits"] > vcpu["own_host_exits"])
        return in_guest(self._thread_folder(vm, int(vcpu["tid"])), task, met=met)

    def vcpu_tasks(self, vm: Vm) -> dict[int, TaskLook]:
        """Look at the threads of a VM's vCPUs."""
        tids = [int(t) for t in self._watch.vcpus_of(vm.slot)["tid"]]
        return {tid: self.thread(vm, tid) for tid in tids}

    def out_of_kvm(self, vm: Vm) -> bool:
        """No vCPU is in KVM_RUN: the VMM keeps them from running."""
        tids = self._watch.vcpus_of(vm.slot)["tid"]
        return not any(in_kvm_run(self._thread_folder(vm, int(tid))) for tid in tids)

    async def stopped(self, vm: Vm, since_ns: int) -> Confirmed | None:
        """SIGSTOP, seen twice: a stop that ends at once is nobody's business."""
        for _ in range(STOPPED_LOOKS):
            if not self.task(vm.pid).stopped:
                return None
            await asyncio.sleep(STEP_SECONDS)
        evidence = f"{vm.name} is stopped by a signal or a tracer"
        return Confirmed(VerdictKind.VMM_STOPPED, vm.name, since_ns, evidence)

    async def run_state(self, vm: Vm) -> tuple[RunState, str]:
        """Ask whether the guest is meant to run; DeadlineError if the VMM is mute."""
        if vm.qmp is None:
            return RunState.UNKNOWN, "no QMP socket"
        seconds = self._watch.policy.limits.qmp / SECOND
        return await ask_run_state(vm.qmp, seconds)

    def runtime_ns(self, vm: Vm) -> int:
        """CPU time of all threads of a VMM."""
        tids = tasks_of(self._watch.proc, vm.pid)
        return sum(self.thread(vm, tid).runtime_ns for tid in tids)
