# SPDX-License-Identifier: Apache-2.0
"""A Linux guest with one vCPU that does a service VM's work: what that competes with.

Debian's cloud kernel, an init that does nothing else, and the memory that this needs.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import HostError, ObserverError, ProgramError
from observer.guests import cpio, modules
from observer.guests.children import child
from observer.guests.launch import KERNEL_WORDS
from observer.guests.programs import places_of
from observer.guests.waiting import wait_until
from observer.testbed.initramfs import static_busybox

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from observer.testbed.kernel import Kernel

__all__ = [
    "LINUX_BRIDGE",
    "LINUX_VBLADE",
    "Peer",
    "initrd_of",
    "running_peer",
    "started",
]

UP_SECONDS = 180.0
MEMORY_MIB = 128
INIT = """#!/bin/busybox sh
/bin/busybox sh -ex /work && echo peer up || echo peer failed
exec sleep 100000
"""
WORK = """
/bin/busybox mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
while read -r module; do insmod "/lib/modules/$module"; done </lib/modules/order
{work}
"""


@dataclass(frozen=True)
class Peer:
    """What the guest does: its network devices are eth0, eth1, its disk /dev/vda."""

    modules: tuple[str, ...]
    programs: tuple[str, ...]
    work: str


LINUX_BRIDGE = Peer(
    ("virtio_pci", "virtio_net", "bridge"),
    (),
    "brctl addbr br0\necho 0 >/sys/class/net/br0/bridge/forward_delay\n"
    + "".join(f"brctl addif br0 eth{k}; ip link set eth{k} up\n" for k in (0, 1))
    + "ip link set br0 up",
)
LINUX_VBLADE = Peer(
    ("virtio_pci", "virtio_net", "virtio_blk"),
    ("vblade",),
    "ip link set eth0 mtu 9000 up\nvblade 1 0 eth0 /dev/vda &",
)


def _release(kernel: Kernel) -> str:
    if kernel.guest_release is None:
        raise HostError(f"The kernel {kernel.name} has none for guests.")
    return kernel.guest_release


def initrd_of(peer: Peer, kernel: Kernel) -> bytes:
    """The root that it boots from."""
    release = _release(kernel)
    needs = modules.read_dependencies(kernel.root, release)
    order = modules.load_order(needs, peer.modules)
    folder = kernel.modules_of(release)
    drivers = {Path(p).name: modules.module_bytes(folder / p) for p in order}
    return cpio.archive(
        [
            cpio.character_device("dev/console", 5, 1),
            cpio.directory("proc"),
            cpio.directory("sys"),
            cpio.file("bin/busybox", static_busybox(), executable=True),
            cpio.file("init", INIT.encode(), executable=True),
            cpio.file("work", WORK.format(work=peer.work).encode()),
            *(cpio.file(f"lib/modules/{n}", data) for n, data in drivers.items()),
            cpio.file("lib/modules/order", "".join(f"{n}\n" for n in drivers).encode()),
            *(
                cpio.file(place.lstrip("/"), Path(place).read_bytes(), executable=True)
                for place in places_of(peer.programs)
            ),
        ]
    )


def _argv(
    kernel: Kernel, folder: Path, initrd: Path, taps: tuple[str, ...], disk: Path | None
) -> list[str]:
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", f"{MEMORY_MIB}M"),
        *("-kernel", str(kernel.image_of(_release(kernel))), "-initrd", str(initrd)),
        *("-append", KERNEL_WORDS, "-serial", f"file:{folder / 'console'}"),
        *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
    ]
    for k, tap in enumerate(taps):
        netdev = f"tap,id=port{k},ifname={tap},script=no,downscript=no,vhost=on"
        mac = f"02:6c:78:00:{len(taps):02x}:{k:02x}"
        argv += ["-netdev", netdev]
        argv += ["-device", f"virtio-net-pci,netdev=port{k},mac={mac},romfile="]
    if disk is not None:
        argv += ["-blockdev", f"driver=file,filename={disk},node-name=disk"]
        argv += ["-device", "virtio-blk-pci,drive=disk"]
    return argv


@contextmanager
def started(
    kernel: Kernel,
    folder: Path,
    initrd: Path,
    taps: tuple[str, ...],
    disk: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it from its root while the block does, which begins when it works."""
    console, log = folder / "console", folder / "qemu.log"
    console.unlink(missing_ok=True)
    with child(_argv(kernel, folder, initrd, taps, disk), log) as process:

        def said() -> str:
            return console.read_text() if console.exists() else ""

        def up() -> bool:
            if process.poll() is not None:
                why = log.read_text().strip()
                raise ProgramError(f"The Linux peer's QEMU ended: {why}")
            if "peer failed" in said():
                raise ProgramError("The Linux peer cannot do its work.")
            return "peer up" in said()

        try:
            wait_until(up, UP_SECONDS, "the Linux peer was up")
        except ObserverError as e:  # its console may go with the folder
            last = said()[-600:].strip()
            raise ProgramError(f"{e.message} Its console said: {last}") from e
        yield process


@contextmanager
def running_peer(
    peer: Peer, kernel: Kernel, taps: tuple[str, ...], disk: Path | None = None
) -> Iterator[Path]:
    """Run it while the block does, which begins when it works; its QMP socket."""
    with tempfile.TemporaryDirectory(prefix="observer-peer-") as made:
        folder = Path(made)
        initrd = folder / "initrd"
        initrd.write_bytes(initrd_of(peer, kernel))
        with started(kernel, folder, initrd, taps, disk):
            yield folder / "qmp"
