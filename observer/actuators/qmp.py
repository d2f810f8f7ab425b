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

__all__ = ["QmpOrder", "socket_of"]

ANSWER_SECONDS = 1.0


def socket_of(vm: Vm) -> str:
    """Where its QEMU takes orders; UnfitError where that is not known."""
    if vm.qmp is None:
        raise UnfitError(f"{vm.name} has no QMP socket that we could use")
    return vm.qmp


class QmpOrder:
    """One command of QMP's.

    `inject-nmi` wakes a guest that has a handler for it, `system_reset` starts it
    again, as its reset button would.
    """

    def __init__(self, find: Callable[[str], Vm | None], name: str) -> None:
        self._find, self._name = find, name

    def _socket(self, repair: Repair) -> str:
        return socket_of(same_vm(self._find, repair))

    def plan(self, repair: Repair) -> str:
        """Say where."""
        return f"{self._name} by QMP at {self._socket(repair)}"

    async def act(self, repair: Repair) -> None:
        """Give the command, and wait until QEMU has taken it."""
        await command(self._socket(repair), self._name, ANSWER_SECONDS)
