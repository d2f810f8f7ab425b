# SPDX-License-Identifier: Apache-2.0
"""The means of repair: each does one thing once, or only says that it would.

An actuator looks again at whom it is about to act on, for what the verdict was about
may be gone, and its number or name another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from observer.actuators.back_end import RestartBackEnd
from observer.actuators.link import BounceLink
from observer.actuators.process import Continue, KillVmm
from observer.actuators.qmp import QmpOrder
from observer.actuators.ring import ReCall, ReKick
from observer.actuators.service import (
    KeeperOrder,
    reset_part,
    restart,
    switch_to_spare,
)
from observer.actuators.vm import RestartVm
from observer.model import StepKind

if TYPE_CHECKING:
    from pathlib import Path

    from observer.inventory.recorded import Recorded
    from observer.loops.policy import RepairPolicy
    from observer.model import Repair, Vm
    from observer.watch import Watch

__all__ = ["Actuator", "Settling", "actuators"]


class Actuator(Protocol):
    """One means of repair."""

    def plan(self, repair: Repair) -> str:
        """Say what `act` would do; raises UnfitError where it can do nothing."""
        ...

    async def act(self, repair: Repair) -> None:
        """Do it; raises ObserverError where that fails, UnfitError as `plan` does."""
        ...


@runtime_checkable
class Settling(Protocol):
    """One whose act has two halves, of which the second must not stay undone."""

    async def settle(self, repair: Repair) -> None:
        """Do the second half, where an observer that died may have left it."""
        ...


def actuators(
    watch: Watch, recorded: Recorded, policy: RepairPolicy, runtime: Path
) -> dict[StepKind, Actuator]:
    """All of them.

    `watch` says which VMs there are, `recorded` knows their command lines, `runtime` is
    where services lie.
    """
    books = watch.books

    def named(name: str) -> list[Vm]:
        """The one that serves before its spare."""
        its = (vm for vm in watch.vms.values() if vm.name == name)
        return sorted(its, key=watch.stands_by)

    def find(name: str) -> Vm | None:
        return next(iter(named(name)), None)

    return {
        StepKind.CONTINUE: Continue(find),
        StepKind.RE_KICK: ReKick(find, books),
        StepKind.BOUNCE_LINK: BounceLink(find, books),
        StepKind.RE_CALL: ReCall(find, books),
        StepKind.RESET_PART: KeeperOrder(runtime, reset_part),
        StepKind.SWITCH_TO_SPARE: KeeperOrder(runtime, switch_to_spare),
        StepKind.RESTART_SERVICE: KeeperOrder(runtime, restart),
        StepKind.INJECT_NMI: QmpOrder(find, "inject-nmi"),
        StepKind.RESET_GUEST: QmpOrder(find, "system_reset"),
        StepKind.KILL_VMM: KillVmm(find),
        StepKind.RESTART_VM: RestartVm(named, recorded, policy),
        StepKind.RESTART_BACKEND: RestartBackEnd(
            watch.vms.values, watch.discover, recorded, policy
        ),
    }
