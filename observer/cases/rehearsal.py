# SPDX-License-Identifier: Apache-2.0
"""Looks for nothing: the first suspicion finds code and files warm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from observer.kernel.cells import RingKind
from observer.model import Look, Suspicion, SuspicionKind

if TYPE_CHECKING:
    from observer.cases import Cases
    from observer.model import Vm
    from observer.watch import Watch

__all__ = ["Rehearsals"]


class Rehearsals:
    """One of a ring in all, and one of each service."""

    def __init__(self, watch: Watch, looks: Cases) -> None:
        self._watch, self._looks = watch, looks
        self.tasks: dict[tuple[SuspicionKind, int], asyncio.Task[Look]] = {}

    def rehearse(self, vm: Vm) -> None:
        """Look at a VM, where that was not done yet.

        What is found is dropped; it is for the kernel to suspect.  Each service is
        asked for a beat so: an idle one may have given its last before we came.
        """
        served = (
            slot
            for slot in self._watch.ring_slots(vm.slot)
            if self._watch.books.rings[slot]["kind"] == RingKind.VHOST
        )
        service = vm.slot if self._looks.is_service(vm) else None
        now, starved = self._watch.clock.now_ns(), (SuspicionKind.STARVED, 0)
        plays = {starved: next(served, None), (SuspicionKind.SERVICE, vm.pid): service}
        for play, slot in plays.items():
            if slot is not None and play not in self.tasks:
                look = Suspicion(play[0], now, now, 0, vm.pid, vm.slot, slot)
                self.tasks[play] = asyncio.create_task(self._looks.look(vm, look))

    def forget(self, vm: Vm) -> None:
        """Let the service be looked at anew that has its place."""
        self.tasks.pop((SuspicionKind.SERVICE, vm.pid), None)
