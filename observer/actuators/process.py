# SPDX-License-Identifier: Apache-2.0
"""Acts on a VMM's process, by pidfd: a number alone may be another's by now."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import UnfitError
from observer.inventory.task import look_at_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.model import Repair, Vm

__all__ = ["Continue", "same_vm"]


def same_vm(find: Callable[[str], Vm | None], repair: Repair) -> Vm:
    """The VM that the verdict was about; UnfitError where another has its name."""
    verdict = repair.verdict
    vm = find(verdict.vm)
    if vm is None or vm.pid != verdict.pid:
        raise UnfitError(f"{verdict.vm} is not the VM any more that it was")
    return vm


@contextmanager
def _held(vm: Vm, proc: Path) -> Iterator[int]:
    """A pidfd of the very process."""
    try:
        process = os.pidfd_open(vm.pid)
    except ProcessLookupError as e:
        raise UnfitError(f"{vm.name} is gone") from e
    try:
        if look_at_task(proc / str(vm.pid)).start_ticks != vm.start_ticks:
            raise UnfitError(f"process {vm.pid} is not {vm.name} any more")
        yield process
    finally:
        os.close(process)


class Continue:
    """Lets a VMM that a signal stopped go on."""

    def __init__(
        self, find: Callable[[str], Vm | None], proc: Path = Path("/proc")
    ) -> None:
        self._find, self._proc = find, proc

    def plan(self, repair: Repair) -> str:
        """Say whom."""
        vm = same_vm(self._find, repair)
        return f"send SIGCONT to {vm.name}, process {vm.pid}"

    async def act(self, repair: Repair) -> None:
        """Send SIGCONT."""
        with _held(same_vm(self._find, repair), self._proc) as process:
            signal.pidfd_send_signal(process, signal.SIGCONT)
