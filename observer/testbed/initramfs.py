# SPDX-License-Identifier: Apache-2.0
"""Builds the first root of a nested host: busybox, the modules for 9p, one script.

It is made anew for each run, in some 10 ms, since it also carries the run's paths.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import HostError
from observer.guests import cpio, modules
from observer.testbed.programs import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from observer.testbed.kernel import Kernel

__all__ = ["Paths", "build", "is_static", "loadable", "static_busybox"]

# As a kernel has them: some have a few built in.
_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")


@dataclass(frozen=True)
class Paths:
    """What the script finds below /given, a file each."""

    checkout: Path
    modules: Path
    name: str
    """The nested host's name."""
    cached: tuple[str, ...]
    """Folders of the checkout that are only read, relative to it."""
    python: Path = Path(sys.executable)

    def entries(self) -> list[cpio.Entry]:
        """Members of the archive."""
        given = {
            "checkout": str(self.checkout),
            "modules": str(self.modules),
            "name": self.name,
            "cached": "".join(f"{folder}\n" for folder in self.cached),
            "python": str(self.python),
        }
        return [cpio.file(f"given/{name}", given[name].encode()) for name in given]


def is_static(program: bytes) -> bool:
    """Whether an ELF program runs where there is no library.

    The name of its loader stands right behind the program headers.
    """
    return b"/ld-linux" not in program[:4096]


def static_busybox() -> bytes:
    """This machine's busybox."""
    found = find("busybox")
    program = Path(found).read_bytes() if found else b""
    if not program or not is_static(program):
        raise HostError(
            "the testbed needs a statically linked busybox: run "
            "`apt-get install busybox-static` as root."
        )
    return program


def loadable(names: Iterable[str], modules_builtin: str) -> list[str]:
    """Those that a kernel with this modules.builtin does not already have."""
    builtin = {Path(line).stem for line in modules_builtin.splitlines()}
    return [name for name in names if name not in builtin]


def _drivers(kernel: Kernel) -> dict[str, bytes]:
    folder = kernel.modules_of(kernel.release)
    needs = modules.read_dependencies(kernel.root, kernel.release)
    names = loadable(_MODULES, (folder / "modules.builtin").read_text())
    order = modules.load_order(needs, names)
    return {Path(path).name: modules.module_bytes(folder / path) for path in order}


def build(kernel: Kernel, paths: Paths) -> bytes:
    """The archive that QEMU hands to the kernel."""
    script = files("observer.testbed").joinpath("initramfs/init").read_bytes()
    drivers = _drivers(kernel)
    order = "".join(f"{name}\n" for name in drivers)
    return cpio.archive(
        [
            # The kernel opens it for init before anything is mounted.
            cpio.character_device("dev/console", 5, 1),
            cpio.directory("proc"),
            cpio.directory("sys"),
            cpio.file("bin/busybox", static_busybox(), executable=True),
            cpio.file("init", script, executable=True),
            *(cpio.file(f"lib/modules/{name}", data) for name, data in drivers.items()),
            cpio.file("lib/modules/order", order.encode()),
            *paths.entries(),
        ]
    )
