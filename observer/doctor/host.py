# SPDX-License-Identifier: Apache-2.0
"""The host as the checks see it: one root folder and the few calls that ask the kernel.

Tests give a recorded tree and plain functions instead.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from observer.doctor.kvm_probe import run_one_instruction

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Host", "libbpf_version", "this_host"]


@dataclass(frozen=True)
class Host:
    """Everything that a check may look at."""

    root: Path
    """Holds proc, sys, dev, lib and usr."""
    python_path: tuple[Path, ...]
    """Where `import bcc` looks."""
    which: Callable[[str], str | None]
    libbpf_version: Callable[[], str]
    """Raises OSError where libbpf.so.1 cannot be loaded."""
    run_guest: Callable[[Path], None]
    """Runs one instruction under the KVM device; raises OSError where it cannot."""

    def path(self, absolute: str) -> Path:
        """Where `/proc/…`, `/sys/…` and the like are on this host."""
        return self.root / absolute.removeprefix("/")

    def read(self, absolute: str) -> str:
        """The text of a small file; empty when it is not there or not for us."""
        try:
            return self.path(absolute).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    @property
    def release(self) -> str:
        """The kernel's release, e.g. `6.1.0-56-amd64`."""
        return self.read("/proc/sys/kernel/osrelease").strip()


def libbpf_version() -> str:
    """The version of the distribution's libbpf, e.g. `1.1`."""
    library = ctypes.CDLL("libbpf.so.1")
    library.libbpf_version_string.restype = ctypes.c_char_p
    version: bytes = library.libbpf_version_string()
    return version.decode().removeprefix("v")


def this_host() -> Host:
    """The host that we run on."""
    return Host(
        root=Path("/"),
        python_path=tuple(Path(folder) for folder in sys.path if folder),
        which=shutil.which,
        libbpf_version=libbpf_version,
        run_guest=run_one_instruction,
    )
