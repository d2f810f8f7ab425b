# SPDX-License-Identifier: Apache-2.0
"""Acts on a VMM's process, by pidfd: a number alone may be another's by now."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import UnfitError
from observer.inventory.descriptors import read_descriptors
from observer.inventory.task import look_at_task
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.model import BackEnd, Repair, Vm

__all__ = ["Continue", "KillVmm", "end", "held", "is_gone", "same_vm"]


def same_vm(find: Callable[[str], Vm | None], repair: Repair) -> Vm:
    """The VM that the verdict was about; UnfitError where another has its name."""
    verdict = repair.verdict
    vm = find(verdict.vm)
    if vm is None or vm.pid != verdict.pid:
        raise UnfitError(f"{verdict.vm} is not the VM any more that it was")
    return vm


def is_gone(pid: int, start_ticks: int, proc: Path = Path("/proc")) -> bool:
    """Whether that very process has ended, also where it still is a zombie."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if look_at_task(proc / str(pid)).start_ticks != start_ticks:
            return True
        return bool(select.select([process], [], [], 0)[0])
    finally:
        os.close(process)


async def end(pid: int, start_ticks: int, proc: Path = Path("/proc")) -> None:
    """Kill that very process, and return when it is gone; one that is gone stays so."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(process, ended.set)
    try:
        if look_at_task(proc / str(pid)).start_ticks != start_ticks:
            return
        signal.pidfd_send_signal(process, signal.SIGKILL)
        await ended.wait()
    except ProcessLookupError:
        return
    finally:
        asyncio.get_running_loop().remove_reader(process)
        os.close(process)


@contextmanager
def _held(pid: int, name: str, is_it: Callable[[], bool]) -> Iterator[int]:
    """A pidfd of a process that is the one that is meant."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError as e:
        raise UnfitError(f"{name} is gone") from e
    try:
        if not is_it():
            raise UnfitError(f"process {pid} is not {name} any more")
        yield process
    finally:
        os.close(process)


@contextmanager
def held(vm: Vm, proc: Path) -> Iterator[int]:
    """A pidfd of the very VMM."""

    def is_it() -> bool:
        return look_at_task(proc / str(vm.pid)).start_ticks == vm.start_ticks

    with _held(vm.pid, vm.name, is_it) as process:
        yield process


@contextmanager
def _held_back_end(vm: Vm, back_end: BackEnd, proc: Path) -> Iterator[int]:
    """A pidfd of one that still shares an eventfd with its VMM."""

    def is_it() -> bool:
        its, vmms = (read_descriptors(proc, pid) for pid in (back_end.pid, vm.pid))
        return bool(its.eventfds.keys() & vmms.eventfds.keys())

    with held(vm, proc), _held(back_end.pid, back_end.name, is_it) as process:
        yield process


class Continue:
    """Lets a VMM, or a back end, that a signal stopped go on."""

    def __init__(
        self, find: Callable[[str], Vm | None], proc: Path = Path("/proc")
    ) -> None:
        self._find, self._proc = find, proc

    def _whom(self, repair: Repair) -> tuple[Vm, BackEnd | None]:
        """The VM, and its back end if the verdict is about one."""
        vm, verdict = same_vm(self._find, repair), repair.verdict
        if verdict.kind is not VerdictKind.BACKEND_HUNG:
            return vm, None
        for back_end in vm.back_ends:
            stopped = look_at_task(self._proc / str(back_end.pid)).stopped
            if back_end.name == verdict.subject and stopped:
                return vm, back_end
        raise UnfitError(f"{verdict.subject} is no process that is stopped")

    def plan(self, repair: Repair) -> str:
        """Say whom."""
        vm, back_end = self._whom(repair)
        whom = back_end or vm
        return f"send SIGCONT to {whom.name}, process {whom.pid}"

    async def act(self, repair: Repair) -> None:
        """Send SIGCONT."""
        vm, back_end = self._whom(repair)
        proc = self._proc
        whom = (
            held(vm, proc) if back_end is None else _held_back_end(vm, back_end, proc)
        )
        with whom as process:
            signal.pidfd_send_signal(process, signal.SIGCONT)


class KillVmm:
    """Ends a VMM that hangs, where somebody else starts it again."""

    def __init__(
        self, find: Callable[[str], Vm | None], proc: Path = Path("/proc")
    ) -> None:
        self._find, self._proc = find, proc

    def plan(self, repair: Repair) -> str:
        """Say whom."""
        vm = same_vm(self._find, repair)
        return f"kill {vm.name}, process {vm.pid}"

    async def act(self, repair: Repair) -> None:
        """Send SIGKILL, and see it gone."""
        vm = same_vm(self._find, repair)
        await end(vm.pid, vm.start_ticks, self._proc)
