# SPDX-License-Identifier: Apache-2.0
"""Bounces the link of a NIC: QEMU takes its rings from vhost, and hands them back.

vhost then begins with a look at what is offered.  The guest sees its carrier go and
come, at most.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.actuators.process import same_vm
from observer.actuators.qmp import socket_of
from observer.actuators.ring import names_of, unserved_rings
from observer.errors import UnfitError
from observer.inventory.nic import Nic, nics
from observer.inventory.qmp import command, commands
from observer.inventory.task import look_at_task
from observer.kernel.rings import detached_rings, ring_at, ring_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from observer.kernel.books import Books
    from observer.model import Repair, Ring, Vm

__all__ = ["BounceLink"]

ANSWER_SECONDS = 1.0
LOOK_SECONDS = 0.001


class _Filter(msgspec.Struct, frozen=True):
    """Of the many words of `query-rx-filter`."""

    name: str


async def _name_of(nic: Nic, socket: str, *, only: bool) -> str:
    """What `set_link` calls it; QEMU makes up a name for one that has no id."""
    if nic.name:
        return nic.name
    if not only:
        raise UnfitError("it has no id, and is not the only one: give it one")
    answer = await command(socket, "query-rx-filter", ANSWER_SECONDS)
    filters = msgspec.convert(answer, tuple[_Filter, ...])
    if len(filters) != 1:
        raise UnfitError("it has no id, and QEMU does not tell its name: give it one")
    return filters[0].name


class BounceLink:
    """Switches the link of a NIC off and on, whose rings vhost serves no more."""

    def __init__(
        self,
        find: Callable[[str], Vm | None],
        books: Books,
        proc: Path = Path("/proc"),
    ) -> None:
        self._find, self._books, self._proc = find, books, proc
        self._bounces: set[asyncio.Task[list[object]]] = set()

    def _whom(self, repair: Repair) -> tuple[Vm, list[Ring]]:
        vm = same_vm(self._find, repair)
        rings = unserved_rings(vm, repair, self._books, self._proc)
        served = [ring for ring in rings if ring.device]
        if not served:
            raise UnfitError(f"{names_of(rings)} of {vm.name} is not vhost's")
        for ring in served:  # QEMU waits for it, with all its guest's devices
            if self._state_of(ring) not in "RS":
                raise UnfitError(f"{repair.verdict.subject} would hold up its VMM")
        return vm, served

    def _state_of(self, ring: Ring) -> str:
        return look_at_task(self._proc / str(ring.server)).state

    async def _at_rest(self, repair: Repair) -> None:
        """Once their worker sleeps; one that spins never does, and the time is over.

        It may be at work for the other ring of the NIC.
        """
        while any(self._state_of(r) != "S" for r in self._whom(repair)[1]):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(LOOK_SECONDS)

    def _doorbells(self, vm: Vm, rings: Iterable[Ring]) -> list[int]:
        """Of all rings of their devices: one may not have been kicked yet."""
        devices = {ring.device for ring in rings}
        every = (ring_at(self._books, s) for s in ring_slots(self._books, vm.slot))
        return [r.doorbell for r in every if r.device in devices and r.doorbell]

    def plan(self, repair: Repair) -> str:
        """Say of which rings."""
        vm, rings = self._whom(repair)
        socket, names = socket_of(vm), names_of(rings)
        return f"set_link off and on, of the NIC with {names}, by QMP at {socket}"

    async def act(self, repair: Repair) -> None:
        """Both orders leave together, and are carried out though we end meanwhile."""
        vm, rings = self._whom(repair)
        socket = socket_of(vm)
        orders = [
            ("set_link", {"name": name, "up": up})
            for name in await self._names(vm, rings)
            for up in (False, True)
        ]
        await self._at_rest(repair)
        bounce = asyncio.create_task(commands(socket, orders, ANSWER_SECONDS))
        self._bounces.add(bounce)
        bounce.add_done_callback(self._bounces.discard)
        await asyncio.shield(bounce)

    async def settle(self, repair: Repair) -> None:
        """Switch on what one that died may have left off: it is where vhost is not."""
        vm = same_vm(self._find, repair)
        if not (rings := detached_rings(self._books, vm.slot)):
            return
        socket = socket_of(vm)
        for name in await self._names(vm, rings):
            arguments = {"name": name, "up": True}
            await command(socket, "set_link", ANSWER_SECONDS, arguments)

    async def _names(self, vm: Vm, rings: list[Ring]) -> list[str]:
        """Of the NICs that these rings belong to."""
        socket, doorbells = socket_of(vm), self._doorbells(vm, rings)
        if not doorbells:  # it may be a vsock's
            raise UnfitError(f"no kick of {names_of(rings)} was seen: whose is unknown")
        every = nics(await command(socket, "query-pci", ANSWER_SECONDS))
        mine = [nic for nic in every if any(map(nic.has, doorbells))]
        if not mine:
            raise UnfitError(f"{names_of(rings)} of {vm.name} belongs to no NIC")
        only = len(every) == 1
        return [await _name_of(nic, socket, only=only) for nic in mine]
