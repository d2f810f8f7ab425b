# SPDX-License-Identifier: Apache-2.0
"""The QEMU that emulates a nested host: the installed one where it is new enough.

Under Debian 12's 7.2 an emulated kernel died of a breakpoint that was no longer there
("Oops: int3") where it had just patched itself.  Before 8.1 QEMU locked a page of code
only after it had translated it, which explains that; it was inferred from the Oops and
not bisected.  Debian's backports have a newer one, which is unpacked here and installed
nowhere.  It is no cure for all: see `emulator_fault`.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.testbed import apt
from observer.testbed.unpacked import unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["INSTALLED", "emulator", "version_of"]

INSTALLED = "qemu-system-x86_64"
OLDEST_SOUND = (8, 1)
PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
VERSION_SECONDS = 30


def version_of(said: str) -> tuple[int, int]:
    """Major and minor version in what `qemu-system-x86_64 --version` says."""
    found = re.search(r"version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _version(program: str) -> tuple[int, int]:
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=VERSION_SECONDS,
        )
    except OSError:
        return (0, 0)
    return version_of(done.stdout) if done.returncode == 0 else (0, 0)


def emulator(build: Path, say: Callable[[str], None]) -> str:
    """The program to emulate with; fetched below the folder if need be."""
    if _version(INSTALLED) >= OLDEST_SOUND:
        return INSTALLED
    program = build / "emulator/usr/bin" / INSTALLED
    if not program.exists():
        try:
            _fetch(build, say)
        except ProgramError as e:
            say(f"no newer QEMU than the installed one can be had ({e.message})")
            return INSTALLED
    return str(program)


def _fetch(build: Path, say: Callable[[str], None]) -> None:
    """Unpack it, and keep it if it starts."""
    build.mkdir(parents=True, exist_ok=True)
    archives = apt.backports(build / "apt")
    say("downloading a newer QEMU, to emulate with")
    if not unpack(archives, PACKAGES, build / "emulator", _is_sound):
        raise ProgramError("the one in Debian's backports does not start here")


def _is_sound(root: Path) -> bool:
    return _version(str(root / "usr/bin" / INSTALLED)) >= OLDEST_SOUND
