# SPDX-License-Identifier: Apache-2.0
"""Builds what a Linux guest boots from: the fault module and the first root.

The kernel itself is the distribution's, unmodified, as the testbed unpacked it;
nothing need be installed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import HostError, ProgramError
from observer.guests import cpio, modules
from observer.testbed.initramfs import static_busybox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from observer.testbed.kernel import Kernel

__all__ = ["GuestImage", "build_image", "initrd"]

_MODULES = ("virtio_pci", "virtio_net", "virtio_blk")
_SOURCES = Path(str(files("observer.guests")))
_BUILD_SECONDS = 300


@dataclass(frozen=True)
class GuestImage:
    """All that QEMU needs to boot the Linux guest."""

    vmlinuz: str
    initrd: str


def _run(*argv: str) -> None:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )
    if done.returncode:
        raise ProgramError(
            f"{argv[0]} could not build the guests' fault module "
            f"({done.stderr.strip()[-500:]}); install gcc-12 and make."
        )


def _build_module(headers: Path, folder: Path) -> bytes:
    """Build out of the source tree, which may be read-only."""
    shutil.copytree(_SOURCES / "module", folder, dirs_exist_ok=True)
    _run("make", "-C", str(headers), f"M={folder.resolve()}", "modules")
    # Nine tenths of it are debug information that would only lengthen the boot.
    _run("strip", "--strip-debug", str(folder / "fault.ko"))
    return (folder / "fault.ko").read_bytes()


def initrd(
    busybox: bytes, drivers: Mapping[str, bytes], scripts: Mapping[str, bytes]
) -> bytes:
    """Return the guest's root: busybox, the scripts, the drivers in their order."""
    order = "".join(f"{name}\n" for name in drivers)
    return cpio.archive(
        [
            # The kernel opens it for init before anything is mounted.
            cpio.character_device("dev/console", 5, 1),
            *(cpio.directory(name) for name in ("proc", "sys")),
            cpio.file("bin/busybox", busybox, executable=True),
            *(cpio.file(n, data, executable=True) for n, data in scripts.items()),
            *(cpio.file(f"lib/modules/{n}", data) for n, data in drivers.items()),
            cpio.file("lib/modules/order", order.encode()),
        ]
    )


def _drivers(kernel: Kernel, release: str, names: Sequence[str]) -> dict[str, bytes]:
    needs = modules.read_dependencies(kernel.root, release)
    order = modules.load_order(needs, names)
    folder = kernel.modules_of(release)
    return {Path(path).name: modules.module_bytes(folder / path) for path in order}


def _contents(part: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((_SOURCES / part).iterdir())}


def _fingerprint(
    kernel: Kernel, release: str, names: Sequence[str], busybox: bytes
) -> str:
    """Name what the image is made of, so that any change makes it again."""
    digest = hashlib.sha256(f"{release} {kernel.packages} {names}".encode())
    for part in ("module", "initramfs"):
        digest.update(repr(_contents(part)).encode())
    digest.update(busybox)
    return digest.hexdigest()


def build_image(
    kernel: Kernel,
    folder: Path,
    drivers: Sequence[str] = (),
    *,
    release: str | None = None,
) -> GuestImage:
    """Build the guest's root in the folder, unless it is there and up to date.

    With more `drivers` than its devices need, and of another release than the one for
    guests, where that is wanted.
    """
    release = release or kernel.guest_release
    if release is None:
        raise HostError(
            f"The kernel {kernel.name} has none for guests; take debian-12."
        )
    made = folder / "initrd"
    image = GuestImage(str(kernel.image_of(release).resolve()), str(made.resolve()))
    stamp, busybox = folder / "initrd.sha256", static_busybox()
    names = (*_MODULES, *drivers)
    fingerprint = _fingerprint(kernel, release, names, busybox)
    if made.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        return image
    folder.mkdir(parents=True, exist_ok=True)
    its = _drivers(kernel, release, names)
    its["fault.ko"] = _build_module(kernel.headers_of(release), folder / "module")
    made.write_bytes(initrd(busybox, its, _contents("initramfs")))
    stamp.write_text(fingerprint)
    return image
