# SPDX-License-Identifier: Apache-2.0
"""Acts on a guest through its QEMU's monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.actuators.process import same_vm
from observer.errors import UnfitError
from observer.inventory.qmp import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from observer.model import Repair, Vm

__all__ = ["InjectNmi", "ResetGuest"]

ANSWER_SECONDS = 1.0


class _Order:
    """One command of QMP's."""

    name: str

    def __init__(self, find: Callable[[str], Vm | None]) -> None:
        self._find = find

    def _socket(self, repair: Repair) -> str:
        vm = same_vm(self._find, repair)
        if vm.qmp is None:
            raise UnfitError(f"{vm.name} has no QMP socket that we could use")
        return vm.qmp

    def plan(self, repair: Repair) -> str:
        """Say where."""
        return f"{self.name} by QMP at {self._socket(repair)}"

    async def act(self, repair: Repair) -> None:
        """Give the command, and wait until QEMU has taken it."""
        await command(self._socket(repair), self.name, ANSWER_SECONDS)


class InjectNmi(_Order):
    """Wakes a guest that has a handler for it, or makes it say where it was."""

    name = "inject-nmi"


class ResetGuest(_Order):
    """Starts a guest again, as its reset button would."""

    name = "system_reset"
