# SPDX-License-Identifier: Apache-2.0
"""The programs that a nested host needs, and the packages that bring them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from observer.errors import HostError, ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["TO_BOOT", "TO_FETCH", "call", "find", "require"]

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


def call(*argv: str) -> None:
    """Run a program to its end; ProgramError with what it said if it failed."""
    program = find(argv[0]) or argv[0]
    done = subprocess.run(
        [program, *argv[1:]], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProgramError(f"{argv[0]} failed: {done.stderr.strip()}")
