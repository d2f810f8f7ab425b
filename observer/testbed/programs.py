# SPDX-License-Identifier: Apache-2.0
"""The programs that a nested host needs, and the packages that bring them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["TO_BOOT", "TO_FETCH", "find", "require"]

TO_FETCH: Mapping[str, str] = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "depmod": "kmod",
}
TO_BOOT: Mapping[str, str] = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "setpriv": "util-linux",
    "modprobe": "kmod",
    "ip": "iproute2",
}


def find(name: str) -> str | None:
    """Where a program is, also one for administrators: users' PATH has no sbin."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def require(
    programs: Mapping[str, str], which: Callable[[str], str | None] = find
) -> None:
    """Raise HostError naming the packages of all programs that are missing."""
    missing = {package: name for name, package in programs.items() if not which(name)}
    if missing:
        raise HostError(
            f"the testbed needs {', '.join(missing.values())}: run "
            f"`apt-get install {' '.join(sorted(missing))}` as root."
        )
