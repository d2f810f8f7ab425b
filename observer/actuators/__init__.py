# SPDX-License-Identifier: Apache-2.0
"""The means of repair: each does one thing once, or only says that it would.

An actuator looks again at whom it is about to act on, for what the verdict was about
may be gone, and its number or name another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from observer.actuators.process import Continue
from observer.actuators.qmp import QmpOrder
from observer.actuators.service import (
    KeeperOrder,
    reset_part,
    restart,
    switch_to_spare,
)
from observer.model import StepKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from observer.model import Repair, Vm

__all__ = ["Actuator", "actuators"]


class Actuator(Protocol):
    """One means of repair."""

    def plan(self, repair: Repair) -> str:
        """Say what `act` would do; raises UnfitError where it can do nothing."""
        ...

    async def act(self, repair: Repair) -> None:
        """Do it; raises ObserverError where that fails, UnfitError as `plan` does."""
        ...


def actuators(
    find: Callable[[str], Vm | None], runtime: Path
) -> dict[StepKind, Actuator]:
    """All of them; `find` gives the VM of a name, `runtime` is where services lie."""
    return {
        StepKind.CONTINUE: Continue(find),
        StepKind.RESET_PART: KeeperOrder(runtime, reset_part),
        StepKind.SWITCH_TO_SPARE: KeeperOrder(runtime, switch_to_spare),
        StepKind.RESTART_SERVICE: KeeperOrder(runtime, restart),
        StepKind.INJECT_NMI: QmpOrder(find, "inject-nmi"),
        StepKind.RESET_GUEST: QmpOrder(find, "system_reset"),
    }
