# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line for a service VM, and the descriptors that it inherits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.services.identity import mac_of

if TYPE_CHECKING:
    from observer.services.folder import VmFolder
    from observer.services.images import ServiceSpec

__all__ = ["ECAM", "Handed", "as_user", "qemu_argv"]

# What an unprivileged process that serves three descriptors has no use for.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True)
class Handed:
    """Open descriptors that QEMU gets; it opens nothing else of the host's but KVM."""

    image: int
    disk: int | None
    disk_driver: str
    memory: int = -1
    taps: tuple[int, ...] = ()
    vhosts: tuple[int, ...] = ()
    other_memory: int | None = None
    """Of the VM that this one stands by for, to be read when that has died."""

    def all(self) -> tuple[int, ...]:
        """Every one of them."""
        some = (fd for fd in (self.disk, self.other_memory) if fd is not None)
        return (self.image, self.memory, *self.taps, *self.vhosts, *some)


# Where QEMU's microvm has the configuration space of PCI (its hw/i386/microvm.c).
ECAM = "pci.ecam=0xe0000000"


def as_user(user: int, kvm_group: int | None) -> list[str]:
    """The rights of a user who may do nothing but open KVM, as setpriv takes them."""
    groups = ["--clear-groups"] if kvm_group is None else ["--groups", str(kvm_group)]
    ids = ["--reuid", str(user), "--regid", str(user), *groups]
    no_rights = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    return [*ids, *no_rights]


def qemu_argv(
    name: str, spec: ServiceSpec, folder: VmFolder, handed: Handed
) -> list[str]:
    """QEMU for a service of this name."""
    size = f"{spec.memory_mib}M"
    ram = f"memory-backend-file,id=ram,size={size},share=on,mem-path="
    argv = ["qemu-system-x86_64", "-name", f"guest={name},debug-threads=on"]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-M", "microvm,pcie=on,pic=off,pit=off,rtc=off,memory-backend=ram"]
    argv += ["-accel", "kvm", "-cpu", "host", "-m", size]
    argv += ["-object", f"{ram}/proc/self/fd/{handed.memory}"]
    argv += ["-kernel", f"/proc/self/fd/{handed.image}"]
    argv += ["-append", f"{spec.words} {ECAM}"]
    argv += ["-serial", f"file:{folder.console}"]
    argv += ["-qmp", f"unix:{folder.qmp},server=on,wait=off"]
    argv += ["-chardev", f"socket,id=control,path={folder.control},server=on,wait=off"]
    argv += [
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtconsole,chardev=control",
    ]
    for k, (tap, vhost) in enumerate(zip(handed.taps, handed.vhosts, strict=True)):
        argv += ["-netdev", f"tap,id=port{k},fd={tap},vhost=on,vhostfd={vhost}"]
        device = f"virtio-net-pci,netdev=port{k},mac={mac_of(name, k)},romfile="
        argv += ["-device", device]
    if handed.other_memory is not None:
        other = f"memory-backend-file,id=other,size={size},share=on,readonly=on"
        argv += ["-object", f"{other},mem-path=/proc/self/fd/{handed.other_memory}"]
        argv += ["-device", "ivshmem-plain,memdev=other"]
    if handed.disk is not None:
        argv += ["-add-fd", f"fd={handed.disk},set=1"]
        # Not opened read-only first: there is one descriptor, for writing.
        file = f"driver={handed.disk_driver},filename=/dev/fdset/1,node-name=file"
        file += ",auto-read-only=off"
        raw = "driver=raw,file=file,node-name=disk,auto-read-only=off"
        argv += ["-blockdev", file, "-blockdev", raw]
        argv += ["-device", "virtio-blk-pci,drive=disk"]
    return [*argv, "-sandbox", SANDBOX]
