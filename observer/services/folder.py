# SPDX-License-Identifier: Apache-2.0
"""Where a service VM's sockets and its record lie.

The folder is root's; what QEMU makes itself lies in one below it that is QEMU's user's.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

__all__ = ["RUNTIME", "ServiceFolder", "is_name", "service_folder"]

RUNTIME = Path("/run/observer-services")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}")


def is_name(name: str) -> bool:
    """Whether a service may be called so: it becomes part of a path."""
    return _NAME.fullmatch(name) is not None


class ServiceFolder(msgspec.Struct, frozen=True):
    """The files of one service."""

    path: Path

    @property
    def vm(self) -> Path:
        """What is the VM's own."""
        return self.path / "vm"

    @property
    def control(self) -> Path:
        """The control port."""
        return self.vm / "control"

    @property
    def qmp(self) -> Path:
        """QEMU's monitor."""
        return self.vm / "qmp"

    @property
    def console(self) -> Path:
        """What it prints."""
        return self.vm / "console"

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
        """Is there when the VM is ended on purpose."""
        return self.path / "ending"


def service_folder(runtime: Path, name: str) -> ServiceFolder | None:
    """The folder of a service of this name; None if nobody can be called so."""
    return ServiceFolder(runtime / name) if is_name(name) else None
