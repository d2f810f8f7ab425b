# SPDX-License-Identifier: Apache-2.0
"""Where a service VM's sockets and its record lie.

The folder is root's; what QEMU makes itself lies in one below it that is QEMU's user's:
one for the VM that serves, one for its spare.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from observer.inventory.procfs import read_proc

__all__ = [
    "RUNTIME",
    "ServiceFolder",
    "VmFolder",
    "is_name",
    "replace_text",
    "service_folder",
]

RUNTIME = Path("/run/observer-services")
MOST_ENDED = 8  # for who asks late, e.g. an observer that was away

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}")


def replace_text(path: Path, text: str) -> None:
    """Write a file that is whole whenever somebody reads it."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)


def is_name(name: str) -> bool:
    """Whether a service may be called so: it becomes part of a path."""
    return _NAME.fullmatch(name) is not None


def _seat_of(qmp: str) -> str:
    """Name of the folder that a monitor lies in; empty where it leads elsewhere."""
    name = qmp.rpartition("/")[0].rpartition("/")[2]
    return name if is_name(name) else ""


class VmFolder(msgspec.Struct, frozen=True):
    """The files of one VM."""

    path: Path

    @property
    def control(self) -> Path:
        """The control port."""
        return self.path / "control"

    @property
    def qmp(self) -> Path:
        """QEMU's monitor."""
        return self.path / "qmp"

    @property
    def console(self) -> Path:
        """What it prints."""
        return self.path / "console"


class ServiceFolder(msgspec.Struct, frozen=True):
    """The files of one service."""

    path: Path

    @property
    def vm(self) -> VmFolder:
        """Of the VM that serves: a link, which a switch to the spare changes."""
        return VmFolder(self.path / "vm")

    def seat(self, number: int) -> VmFolder:
        """Of one of the two VMs that there may be, whichever serves."""
        return VmFolder(self.path / f"vm{number}")

    def stands_by(self, qmp: str) -> bool:
        """Whether the VM with this monitor is not the one that serves."""
        try:
            return self.vm.path.readlink().name != _seat_of(qmp)
        except OSError:  # none serves yet
            return False

    def vm_of(self, qmp: str) -> VmFolder:
        """Of the VM with this monitor; what a VMM says of itself leads nowhere else."""
        return VmFolder(self.path / _seat_of(qmp))

    def vm_is(self, folder: VmFolder) -> None:
        """Say which of the two serves."""
        new = self.path / "vm.new"
        new.unlink(missing_ok=True)
        new.symlink_to(folder.path.name)
        new.replace(self.vm.path)

    @property
    def record(self) -> Path:
        """What it was started with."""
        return self.path / "service.json"

    @property
    def keeper(self) -> Path:
        """Where its keeper takes orders from root."""
        return self.path / "keeper"

    @property
    def ending(self) -> Path:
        """Names the processes that were last ended on purpose."""
        return self.path / "ending"

    def _ended(self) -> list[str]:
        try:
            return read_proc(f"{self.path}/ending").split()
        except FileNotFoundError:
            return []

    def ends(self, *pids: int) -> None:
        """Say who is being ended on purpose."""
        ended = [*self._ended(), *map(str, pids)]
        replace_text(self.ending, " ".join(ended[-MOST_ENDED:]))

    def begins(self, pid: int) -> None:
        """Say that this number is one that lives."""
        ended = [number for number in self._ended() if number != str(pid)]
        replace_text(self.ending, " ".join(ended))

    def is_ending(self, pid: int) -> bool:
        """Whether that process was ended on purpose."""
        return str(pid) in self._ended()

    def has_ended(self, pid: int) -> bool:
        """Whether that process was, or all that there was of the service."""
        return not self.path.exists() or self.is_ending(pid)


def service_folder(runtime: Path, name: str) -> ServiceFolder | None:
    """The folder of a service of this name; None if nobody can be called so."""
    return ServiceFolder(runtime / name) if is_name(name) else None
