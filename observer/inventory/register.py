# SPDX-License-Identifier: Apache-2.0
"""Which VMs were seen alive, written down for the observer that comes after us.

A VMM that dies while none runs has neither a command line nor descriptors any more:
what it was is known from here.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from observer.model import Vm

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Register"]


class Register:
    """One file, which is of use as long as the host is up."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[int, Vm]:
        """Who was there, by process; nobody where that is not known."""
        try:
            vms = msgspec.json.decode(self._path.read_bytes(), type=list[Vm])
        except (OSError, msgspec.DecodeError):
            return {}
        return {vm.pid: vm for vm in vms}

    def write(self, vms: Iterable[Vm]) -> None:
        """Write down who is there; nothing but a name is lost where that fails."""
        new = self._path.with_suffix(".new")
        with suppress(OSError):
            new.touch(mode=0o600)
            new.write_bytes(msgspec.json.encode(list(vms)))
            new.replace(self._path)
