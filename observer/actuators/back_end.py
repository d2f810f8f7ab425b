# SPDX-License-Identifier: Apache-2.0
"""Starts a back end again while its VM lives; the guest sees a disk that was slow.

QEMU connects again and gives it the rings as they stand.  What was in flight is known
only where both keep a record of it (vhost-user's INFLIGHT_SHMFD): without one QEMU
resumes where the guest was last told of an end, which is right only for a back end that
ends its requests in order; else one is done twice, and another never.
"""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from observer.actuators.again import why_no_reconnect
from observer.actuators.launch import start, why_not_now
from observer.actuators.process import end, is_gone, same_vm
from observer.errors import ProgramError, UnfitError
from observer.inventory.command_line import find_running
from observer.inventory.task import look_at_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from observer.inventory.command_line import CommandLine
    from observer.inventory.recorded import Recorded
    from observer.loops.policy import RepairPolicy
    from observer.model import Repair, Vm

__all__ = ["RestartBackEnd"]

LOOK_SECONDS = 0.1


class RestartBackEnd:
    """Ends what is left of a back end, and starts its command line again."""

    def __init__(  # noqa: PLR0913 - all that it touches is an argument
        self,
        vms: Callable[[], Iterable[Vm]],
        discover: Callable[[], object],
        recorded: Recorded,
        policy: RepairPolicy,
        *,
        proc: Path = Path("/proc"),
        start: Callable[[CommandLine], Awaitable[int]] = start,
    ) -> None:
        self._vms, self._discover, self._recorded = vms, discover, recorded
        self._policy, self._proc, self._start = policy, proc, start

    def _find(self, name: str) -> Vm | None:
        return next((vm for vm in self._vms() if vm.name == name), None)

    def _line(self, repair: Repair) -> CommandLine:
        """Its command line; UnfitError where that cannot be given again."""
        verdict, vm = repair.verdict, same_vm(self._find, repair)
        name = verdict.subject
        if not verdict.server:
            raise UnfitError(f"{name} is no process of its own")
        if not self._policy.cares_for(vm.name):
            raise UnfitError(
                f"the policy does not care for {vm.name}, so {name}'s command line was "
                "not recorded: name it in repair.care"
            )
        line = self._recorded.of(vm.name, verdict.server)
        vmm = self._recorded.of(vm.name, vm.pid)
        if line is None or vmm is None:
            raise UnfitError(f"{name}'s command line was not seen while it ran")
        way = self._policy.restart_of(vm.name)
        vouched = way is not None and way.recorded
        why = why_not_now(
            line, is_vmm=False, vouched=vouched, proc=self._proc
        ) or why_no_reconnect(line.argv, vmm.argv)
        if why is not None:
            raise UnfitError(f"{name} cannot be started by its command line: {why}")
        if not line.tracks_inflight and not self._policy.is_in_order(vm.name):
            raise UnfitError(
                f"{name} keeps no record of requests in flight, so one may be done "
                f"twice: if it ends them in order, name {vm.name} in repair.in_order"
            )
        return line

    def _check_others(self, vm: Vm, line: CommandLine) -> None:
        """One that lives may serve others, who are not to suffer for this one."""
        if is_gone(line.pid, line.start_ticks, self._proc):
            return
        for other in self._vms():
            if other.pid != vm.pid and line.pid in (b.pid for b in other.back_ends):
                raise UnfitError(f"it serves {other.name} as well")

    def plan(self, repair: Repair) -> str:
        """Say whether anything is killed, and what is started."""
        line = self._line(repair)
        self._check_others(same_vm(self._find, repair), line)
        alive = not is_gone(line.pid, line.start_ticks, self._proc)
        return (
            f"{f'kill process {line.pid}, then ' if alive else ''}"
            f"start {PurePath(line.program).name} again as user {line.user} by its own "
            f"{len(line.argv)} words"
        )

    async def act(self, repair: Repair) -> None:
        """Do it; returns once the VM has it serve its rings."""
        line, vm = self._line(repair), same_vm(self._find, repair)
        self._check_others(vm, line)
        await end(line.pid, line.start_ticks, self._proc)
        pid = await asyncio.to_thread(find_running, self._proc, line)
        await self._wait(repair, line, pid or await self._start(line))

    async def _wait(self, repair: Repair, line: CommandLine, pid: int) -> None:
        """Until its VM has taken it; one that has died too has a verdict of its own."""
        ticks = look_at_task(self._proc / str(pid)).start_ticks
        while vm := self._find(repair.verdict.vm):
            if vm.pid != repair.verdict.pid or pid in (b.pid for b in vm.back_ends):
                return
            if is_gone(pid, ticks, self._proc):
                raise ProgramError(
                    f"{line.program} ended at once: see {line.stdout} for its reason."
                )
            self._discover()
            await asyncio.sleep(LOOK_SECONDS)
