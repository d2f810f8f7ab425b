# SPDX-License-Identifier: Apache-2.0
"""Acts on the rings of a VM: tells one end again what the other has told it.

Both are harmless where nothing was missed: a back end that is kicked, and a guest that
is called, looks at its ring and finds what it knew.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from observer.actuators.eventfd import write_eventfds
from observer.actuators.process import same_vm
from observer.errors import UnfitError
from observer.inventory.guest_memory import read_ring_words
from observer.inventory.task import look_at_task
from observer.inventory.vmm import program_of
from observer.kernel.rings import owing_rings, receive_rings, unread_rings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from observer.kernel.books import Books
    from observer.model import Repair, Ring, Vm

    Find = Callable[[str], Vm | None]

__all__ = ["ReCall", "ReKick", "names_of", "unserved_rings"]

PROC = Path("/proc")


def names_of(rings: Iterable[Ring]) -> str:
    """What they are called, in a sentence."""
    return " and ".join(ring.name for ring in rings)


def unserved_rings(vm: Vm, repair: Repair, books: Books, proc: Path) -> list[Ring]:
    """Those that the back end of a verdict has owed service to since."""
    verdict = repair.verdict
    found = [
        ring
        for ring in owing_rings(books, vm.slot, verdict.monotonic_ns)
        if program_of(proc, ring.server or vm.pid) == verdict.subject
    ]
    if not found:
        raise UnfitError(f"no ring of {vm.name} waits for {verdict.subject}")
    return found


class ReKick:
    """Kicks a back end that may have missed that its ring was filled."""

    def __init__(self, find: Find, books: Books, proc: Path = PROC) -> None:
        self._find, self._books, self._proc = find, books, proc

    def _whom(self, repair: Repair) -> tuple[Vm, list[Ring]]:
        vm = same_vm(self._find, repair)
        rings = unserved_rings(vm, repair, self._books, self._proc)
        for ring in rings:
            if look_at_task(self._proc / str(ring.server or vm.pid)).stopped:
                raise UnfitError(f"{repair.verdict.subject} is stopped: no kick helps")
        return vm, rings

    def plan(self, repair: Repair) -> str:
        """Say which rings."""
        vm, rings = self._whom(repair)
        return f"kick {names_of(rings)} of {vm.name}, process {vm.pid}, by eventfd"

    async def act(self, repair: Repair) -> None:
        """Write the eventfds that their guest's doorbells write."""
        vm, rings = self._whom(repair)
        ids = [ring.kick_id for ring in rings]
        await asyncio.to_thread(write_eventfds, vm, ids, self._proc)


class ReCall:
    """Calls a guest that sleeps, or lives on, over something that it was sent."""

    def __init__(self, find: Find, books: Books, proc: Path = PROC) -> None:
        self._find, self._books, self._proc = find, books, proc

    def _whom(self, repair: Repair) -> tuple[Vm, list[Ring]]:
        vm, vcpus = same_vm(self._find, repair), self._books.vcpus
        tids = vcpus["tid"][(vcpus["vm"] == vm.slot) & (vcpus["tid"] != 0)]
        threads = self._proc / str(vm.pid) / "task"
        runs = any(look_at_task(threads / str(int(tid))).state != "S" for tid in tids)
        if runs and not unread_rings(self._books, vm.slot):
            raise UnfitError(f"a vCPU of {vm.name} runs: it sleeps through no call")
        rings = [r for r in receive_rings(self._books, vm.slot) if r.call_id]
        if not rings:
            raise UnfitError(f"no ring of {vm.name} shows what its guest consumes")
        return vm, rings

    def plan(self, repair: Repair) -> str:
        """Say which rings; what was consumed is read when it is done."""
        vm, rings = self._whom(repair)
        names = names_of(rings)
        return f"call {vm.name}, process {vm.pid}, by the eventfd of {names}"

    async def act(self, repair: Repair) -> None:
        """Write the eventfds that interrupt it for what it has not consumed."""
        vm, rings = self._whom(repair)
        await asyncio.to_thread(self._call, vm, rings)

    def _call(self, vm: Vm, rings: list[Ring]) -> None:
        missed = [ring.call_id for ring in rings if self._unconsumed(vm, ring)]
        if not missed:
            raise UnfitError(f"{vm.name} has consumed all that it was sent")
        write_eventfds(vm, missed, self._proc)

    def _unconsumed(self, vm: Vm, ring: Ring) -> bool:
        cell = self._books.rings[ring.slot]
        where = int(cell["avail_addr"]), int(cell["used_addr"]), int(cell["num"])
        try:
            words = read_ring_words(vm.pid, *where)
        except OSError:
            return False  # unknown is no evidence
        return words.used != words.used_event
