# SPDX-License-Identifier: Apache-2.0
"""The command lines of a Linux guest and of its disk's back end, as pure functions.

The network goes by vhost-net in the host's kernel, the disk by vhost-user-blk in a
process of its own: the two kinds of back end that an observer must tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.images import GuestImage

__all__ = ["KERNEL_WORDS", "Files", "GuestSpec", "disk_command", "qemu_command"]

IFNAMSIZ = 15
"""The kernel's limit on a network interface's name."""
SUBNETS = 254


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """What to start; everything else follows from it."""

    name: str
    subnet: int = 1
    vcpus: int = 1
    memory_mib: int = 128
    disk_mib: int = 64
    disk: str | None = None
    """A block device of the host's, instead of a file of its own."""
    devices: tuple[str, ...] = ()
    """More words for QEMU; {folder} in them stands for the guest's runtime folder."""
    words: str = ""
    """More words for its kernel."""
    shared_memory: bool = False
    """Its memory is the file `ram` of its folder, for another VM to see."""

    def __post_init__(self) -> None:
        if not 1 <= self.subnet <= SUBNETS:
            raise UsageError(f"Subnet {self.subnet} is not one of 1 to {SUBNETS}.")
        if len(self.tap) > IFNAMSIZ or not self.name.replace("-", "").isalnum():
            raise UsageError(
                f"{self.name!r} cannot name a guest: take up to "
                f"{IFNAMSIZ - len('tap-')} letters, digits and hyphens."
            )

    @property
    def tap(self) -> str:
        """The guest's network interface on the host."""
        return f"tap-{self.name}"

    @property
    def host_address(self) -> str:
        """The host's end of the guest's own small network."""
        return f"10.123.{self.subnet}.1"

    @property
    def guest_address(self) -> str:
        """The guest's end of it."""
        return f"10.123.{self.subnet}.2"

    @property
    def mac(self) -> str:
        """A locally administered address, the same at every start."""
        return f"52:54:00:7b:{self.subnet:02x}:02"


@dataclass(frozen=True, slots=True)
class Files:
    """Where a guest's files lie in its own runtime folder."""

    folder: Path

    @property
    def qmp(self) -> Path:
        """QEMU's monitor for whoever manages or observes the guest."""
        return self.folder / "qmp.sock"

    @property
    def second_qmp(self) -> Path:
        """Another monitor, for us: a monitor serves one client at a time."""
        return self.folder / "inject.sock"

    @property
    def control(self) -> Path:
        """The guest's second serial port."""
        return self.folder / "control.sock"

    @property
    def console(self) -> Path:
        """What the guest says on its first serial port."""
        return self.folder / "console.log"

    @property
    def pid(self) -> Path:
        """Where QEMU writes its process number."""
        return self.folder / "qemu.pid"

    @property
    def disk_pid(self) -> Path:
        """Where the disk's back end writes its own, whoever started it."""
        return self.folder / "disk.pid"

    @property
    def memory(self) -> Path:
        """The guest's memory, where it is shared."""
        return self.folder / "ram"

    @property
    def disk(self) -> Path:
        """The disk's contents."""
        return self.folder / "disk.raw"

    @property
    def disk_socket(self) -> Path:
        """Where QEMU finds the disk's back end."""
        return self.folder / "disk.sock"


KERNEL_WORDS = (
    "console=ttyS0 quiet pci=lastbus=0 no_timer_check tsc=reliable ipv6.disable=1"
)
"""For any Linux guest here: nothing that changes it once up.

lastbus: without it the kernel reads the configuration of 255 empty PCI buses, an
exit to QEMU each. no_timer_check, tsc: calibrations, slow where emulated.
ipv6: its chatter would make an idle guest look alive.
"""


def kernel_arguments(spec: GuestSpec) -> str:
    """Return the guest's kernel command line: also who it is, and who its host."""
    return (
        f"{KERNEL_WORDS} "
        f"guest.address={spec.guest_address}/24 guest.peer={spec.host_address}"
        f"{spec.words and f' {spec.words}'}"
    )


def _memory(spec: GuestSpec, files: Files) -> str:
    where = "memory-backend-memfd"
    if spec.shared_memory:
        where = f"memory-backend-file,mem-path={files.memory}"
    return f"{where},id=ram,size={spec.memory_mib}M,share=on"


def _monitor(identity: str, path: Path) -> list[str]:
    return [
        *("-chardev", f"socket,id={identity},path={path},server=on,wait=off"),
        *("-mon", f"chardev={identity},mode=control"),
    ]


def qemu_command(spec: GuestSpec, files: Files, image: GuestImage) -> list[str]:
    """Return the command line of the guest's VMM."""
    return [
        *("qemu-system-x86_64", "-name", f"guest={spec.name},debug-threads=on"),
        *("-machine", "q35,memory-backend=ram", "-accel", "kvm", "-cpu", "host"),
        *("-smp", str(spec.vcpus), "-m", f"{spec.memory_mib}M"),
        *("-object", _memory(spec, files)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *_monitor("qmp", files.qmp),
        *_monitor("inject", files.second_qmp),
        # A serial port on a terminal would stop the whole VMM when nobody reads.
        *("-serial", f"file:{files.console}"),
        *("-chardev", f"socket,id=ctl,path={files.control},server=on,wait=off"),
        *("-serial", "chardev:ctl"),
        *("-netdev", f"tap,id=net0,ifname={spec.tap},script=no,downscript=no,vhost=on"),
        *("-device", f"virtio-net-pci,id=nic0,netdev=net0,mac={spec.mac},romfile="),
        *("-chardev", f"socket,id=vub,path={files.disk_socket},reconnect=1"),
        *(
            "-device",
            f"vhost-user-blk-pci,id=disk0,chardev=vub,num-queues={spec.vcpus}",
        ),
        *(word.replace("{folder}", str(files.folder)) for word in spec.devices),
        *("-kernel", image.vmlinuz, "-initrd", image.initrd),
        *("-append", kernel_arguments(spec)),
        *("-pidfile", str(files.pid)),
    ]


def disk_command(spec: GuestSpec, files: Files) -> list[str]:
    """Return the command line of the disk's back end."""
    disk = f"driver=file,filename={files.disk}"
    if spec.disk is not None:
        disk = f"driver=host_device,filename={spec.disk},cache.direct=on"
    export = (
        f"type=vhost-user-blk,id={spec.name},node-name=disk,writable=on,"
        f"num-queues={spec.vcpus},"
        f"addr.type=unix,addr.path={files.disk_socket}"
    )
    return [
        "qemu-storage-daemon",
        *("--blockdev", f"node-name=disk,{disk}"),
        *("--export", export, "--pidfile", str(files.disk_pid)),
    ]
