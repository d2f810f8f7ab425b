# SPDX-License-Identifier: Apache-2.0
"""The nested host as QEMU sees it: its whole command line.

QEMU is our own child, with nothing in between that could leave it behind, and the
console and the ports go where we want them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.testbed.emulator import INSTALLED
from observer.testbed.protocol import MONITOR, PORTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Machine", "quoted"]

_KERNEL_COMMAND_LINE = (
    "console=ttyS0",
    # Early words too, else a kernel that dies early dies in silence.
    "earlyprintk=serial,ttyS0,115200",
    "loglevel=7",
    # With -no-reboot, a panic ends QEMU.
    "panic=-1",
    # What the agent and tests write to /dev/kmsg is not to be thinned out.
    "printk.devkmsg=on",
    # An emulated clock looks unstable on a busy machine, though it is the only one.
    "tsc=reliable",
    "edd=off",
)


def quoted(path: Path) -> str:
    """A path as a value among QEMU's comma-separated ones."""
    return str(path).replace(",", ",,")


@dataclass(frozen=True)
class Machine:
    """What the nested host is made of."""

    image: Path
    initramfs: Path
    checkout: Path
    cpus: int
    memory: str
    kvm: bool
    program: str = INSTALLED

    @property
    def cpus_in_all(self) -> int:
        """An emulated one has a CPU more, for the kernel: see `free_cpus`."""
        return self.cpus if self.kvm else self.cpus + 1

    @property
    def free_cpus(self) -> tuple[int, ...]:
        """The CPUs on which guests may run.

        Not on the first of QEMU's emulated ones: whenever another loads its FPU's
        state, it also writes the first one's flags of virtualisation back, unlocked
        (cpu_clear_ignne in target/i386/tcg/system/fpu_helper.c).
        """
        return tuple(range(self.cpus_in_all - self.cpus, self.cpus_in_all))

    def _command_line(self) -> str:
        # Nobody attacks an emulated CPU by its speculation: a fifth off the boot.
        emulated = () if self.kvm else ("mitigations=off",)
        return " ".join((*_KERNEL_COMMAND_LINE, *emulated))

    def _processor(self) -> list[str]:
        # "max" has svm, so that the nested host has a KVM of its own.  Kernels clear
        # and copy memory by `rep stosb` and `rep movsb` where those are said to be
        # fast; emulated they go byte by byte: three times longer than 8 at once.
        if self.kvm:
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-cpu", "max,-erms,-fsrm"]

    def _share(self, tag: str, folder: str, options: str) -> list[str]:
        # Not virtiofs: a second daemon to keep, and Debian 12's needs root.
        fsdev = f"local,id={tag},path={folder},security_model=none,multidevs=remap"
        device = f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"
        return ["-fsdev", fsdev + options, "-device", device]

    def argv(self, console: Path, sockets: Mapping[str, int]) -> list[str]:
        """QEMU's command line; each port is an inherited, connected socket."""
        argv = [self.program, "-nodefaults", "-no-user-config", "-no-reboot"]
        argv += ["-display", "none", "-machine", "q35", *self._processor()]
        argv += ["-smp", str(self.cpus_in_all), "-m", self.memory]
        argv += ["-kernel", str(self.image), "-initrd", str(self.initramfs)]
        argv += ["-append", self._command_line()]
        argv += self._share("root", "/", ",readonly=on")
        argv += self._share("checkout", quoted(self.checkout), "")
        argv += ["-chardev", f"file,id=console,path={quoted(console)}"]
        argv += ["-serial", "chardev:console", "-device", "virtio-serial-pci,id=ports"]
        argv += ["-chardev", f"socket,id=monitor,fd={sockets[MONITOR]}"]
        argv += ["-mon", "chardev=monitor,mode=control"]
        for port in PORTS:
            argv += ["-chardev", f"socket,id={port},fd={sockets[port]}"]
            argv += [
                "-device",
                f"virtserialport,bus=ports.0,name={port},chardev={port}",
            ]
        return argv
