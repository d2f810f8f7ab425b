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
    from collections.abc import Callable
    from pathlib import Path

    from observer.model import Repair, Verdict
    from observer.services.record import Record

__all__ = ["KeeperOrder", "reset_part", "restart", "switch_to_spare"]

ANSWER_SECONDS = 60.0  # the step's own deadline comes first


def reset_part(record: Record, verdict: Verdict) -> str:
    """Reset one part of a service that lives."""
    service, _, part = verdict.subject.partition("/")
    if service != verdict.vm or not part.isalnum():
        raise UnfitError(f"{verdict.subject} is no part of a service")
    if record.pid != verdict.pid:
        raise UnfitError(f"{service} has been started again since")
    return f"reset {part} {record.pid}"


def switch_to_spare(record: Record, verdict: Verdict) -> str:
    """Let the spare serve in the place of this life."""
    if record.spare == verdict.pid:
        raise UnfitError(f"it is the spare of {record.name} itself")
    if record.pid == verdict.pid and record.spare is None:
        raise UnfitError(f"{record.name} has no spare")
    return f"switch {verdict.pid}"


def restart(_record: Record, verdict: Verdict) -> str:
    """Start the service again on the memory and the taps that its keeper holds."""
    return f"restart {verdict.pid}"


class KeeperOrder:
    """One order to the keeper of a service, which answers when it is carried out."""

    def __init__(self, runtime: Path, line: Callable[[Record, Verdict], str]) -> None:
        self._runtime, self._line = runtime, line

    def _order(self, repair: Repair) -> tuple[Path, str]:
        name = repair.verdict.vm
        folder = service_folder(self._runtime, name)
        record = read_record(folder) if folder is not None else None
        if folder is None or record is None:
            raise UnfitError(f"{name} is no service of this host")
        return folder.keeper, self._line(record, repair.verdict)

    def plan(self, repair: Repair) -> str:
        """Say what, and to whom."""
        socket, line = self._order(repair)
        return f"say `{line}` at {socket}"

    async def act(self, repair: Repair) -> None:
        """Give the order, and wait for its answer."""
        await order(*self._order(repair), ANSWER_SECONDS)
