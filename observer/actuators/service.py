# SPDX-License-Identifier: Apache-2.0
"""Acts on a service VM through its keeper, which holds its frames meanwhile.

Each order names the life that it is about: one given twice is carried out once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.errors import UnfitError
from observer.services.control import order
from observer.services.folder import service_folder
from observer.services.record import read_record

if TYPE_CHECKING:
    from pathlib import Path

    from observer.model import Repair
    from observer.services.folder import ServiceFolder

__all__ = ["ResetPart", "RestartService"]

ANSWER_SECONDS = 1.0
RESTART_SECONDS = 60.0  # the step's own deadline comes first


def _service(runtime: Path, repair: Repair) -> tuple[ServiceFolder, int | None]:
    """The service of the verdict's name, and its process by now."""
    name = repair.verdict.vm
    folder = service_folder(runtime, name)
    record = read_record(folder) if folder is not None else None
    if folder is None or record is None:
        raise UnfitError(f"{name} is no service of this host")
    return folder, record.pid


class ResetPart:
    """Resets one part of a service that lives."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime

    def _order(self, repair: Repair) -> tuple[Path, str]:
        verdict = repair.verdict
        folder, pid = _service(self._runtime, repair)
        service, _, part = verdict.subject.partition("/")
        if service != verdict.vm or not part.isalnum():
            raise UnfitError(f"{verdict.subject} is no part of a service")
        if pid != verdict.pid:
            raise UnfitError(f"{service} has been started again since")
        return folder.keeper, f"reset {part} {pid}"

    def plan(self, repair: Repair) -> str:
        """Say which part."""
        socket, line = self._order(repair)
        return f"say `{line}` at {socket}"

    async def act(self, repair: Repair) -> None:
        """Order it; the keeper answers when the service has."""
        await order(*self._order(repair), ANSWER_SECONDS)


class RestartService:
    """Starts a service again on the memory and the taps that its keeper holds."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime

    def _order(self, repair: Repair) -> tuple[Path, str]:
        folder, _ = _service(self._runtime, repair)
        return folder.keeper, f"restart {repair.verdict.pid}"

    def plan(self, repair: Repair) -> str:
        """Say which life is to be ended."""
        socket, line = self._order(repair)
        return f"say `{line}` at {socket}"

    async def act(self, repair: Repair) -> None:
        """Order it; the keeper answers when the next life is up."""
        await order(*self._order(repair), RESTART_SECONDS)
