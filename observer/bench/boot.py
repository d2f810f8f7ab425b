# SPDX-License-Identifier: Apache-2.0
"""How soon a service VM beats, and Debian's cloud kernel reaches its init.

All start stopped; the clock runs from QEMU's `cont` to a line on the serial port, which
a service says right after its first beat, and Linux's init as its first act.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from qemu.qmp import QMPClient

from observer.errors import DeadlineError
from observer.guests import cpio
from observer.guests.launch import KERNEL_WORDS
from observer.guests.waiting import wait_until
from observer.services.folder import VmFolder
from observer.services.handed import in_use, opened, with_vhost
from observer.services.images import Port, ServiceSpec
from observer.services.launch import qemu_argv
from observer.testbed.initramfs import static_busybox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Boot", "boots_of"]

SECONDS = 60.0
LINUX = "Debian's cloud kernel"
LINUX_MIB = 128
DISK_BYTES = 1 << 20
INIT = b"#!/bin/busybox sh\necho init\nexec /bin/busybox sleep 1000\n"
# An address that nobody's disk has: a host's initiator may look on every link.
DISK_WORDS = "mtu=1500 aoe.shelf=65279 aoe.slot=254"
SERVICES = {
    "net": ServiceSpec(
        "net.elf", (Port("obs-boot0", "obs-bench0"), Port("obs-boot1", "obs-bench1"))
    ),
    "disk": ServiceSpec("disk.elf", (Port("obs-boot0", "obs-boot"),), words=DISK_WORDS),
}


class Boot(msgspec.Struct, frozen=True):
    """One guest, and how long each of its starts took."""

    guest: str
    image_bytes: int
    memory_mib: int
    took_ms: list[float]

    @property
    def median_ms(self) -> float:
        """The middle one."""
        return sorted(self.took_ms)[len(self.took_ms) // 2]


@dataclass(frozen=True)
class Start:
    """A command line to be timed, and what it says on stdout when it is there."""

    argv: list[str]
    fds: tuple[int, ...]
    qmp: Path
    said: bytes


async def _continue(qmp: Path) -> int:
    """Let the VM run; the moment before, in ns."""
    client = QMPClient("boot")
    await client.connect(str(qmp))
    began_ns = time.monotonic_ns()
    await client.execute("cont")
    await client.disconnect()
    return began_ns


def _heard_ns(serial: int, said: bytes) -> int:
    """When a guest said it."""
    heard, deadline = b"", time.monotonic() + SECONDS
    while said not in heard:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([serial], [], [], left)[0]:
            raise DeadlineError(f"The guest said {heard[-99:]!r}, not {said!r}.")
        data = os.read(serial, 4096)
        if not data:
            raise DeadlineError(f"The guest ended before it said {said!r}.")
        heard += data
    return time.monotonic_ns()


def _time_ns(start: Start) -> int:
    with (
        ThreadPoolExecutor(1) as listener,
        subprocess.Popen(
            [*start.argv, "-S"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=start.fds,
        ) as process,
    ):
        try:
            if process.stdout is None:
                raise AssertionError("it was opened as a pipe")
            wait_until(start.qmp.exists, SECONDS, "QEMU's monitor")
            heard = listener.submit(_heard_ns, process.stdout.fileno(), start.said)
            began_ns = asyncio.run(_continue(start.qmp))
            return heard.result() - began_ns
        finally:
            process.kill()


@contextmanager
def _service(name: str, images: Path, folder: Path) -> Iterator[Start]:
    """The command line that `observer service up` starts, its console on stdout."""
    spec = SERVICES[name]
    if name == "disk":
        disk = folder / "disk.img"
        disk.write_bytes(bytes(DISK_BYTES))
        spec = msgspec.structs.replace(spec, disk=str(disk))
    place = VmFolder(folder / name)
    place.path.mkdir(parents=True)
    with (
        opened(spec, images / spec.image) as shared,
        in_use(name, spec, shared) as (told, ours),
        with_vhost(ours) as handed,
    ):
        argv = qemu_argv(name, told, place, handed)
        argv[argv.index("-serial") + 1] = "stdio"
        yield Start(argv, handed.all(), place.qmp, f"{name} up".encode())


@contextmanager
def _linux(vmlinuz: Path, folder: Path) -> Iterator[Start]:
    """What Linux needs to reach an init, no more, on the machine it boots fastest on.

    Of those that were tried: microvm took half as long again.
    """
    initrd, qmp = folder / "initrd", folder / "qmp"
    initrd.write_bytes(
        cpio.archive(
            [
                cpio.character_device("dev/console", 5, 1),
                cpio.file("bin/busybox", static_busybox(), executable=True),
                cpio.file("init", INIT, executable=True),
            ]
        )
    )
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-M", "q35", "-accel", "kvm", "-cpu", "host"),
        *("-m", f"{LINUX_MIB}M", "-kernel", str(vmlinuz), "-initrd", str(initrd)),
        *("-append", KERNEL_WORDS, "-serial", "stdio"),
        *("-qmp", f"unix:{qmp},server=on,wait=off"),
    ]
    yield Start(argv, (), qmp, b"init")


def boots_of(
    rounds: int, images: Path, vmlinuz: Path, tell: Callable[[str], None]
) -> list[Boot]:
    """Start each of them in turn, so many times."""
    files = {name: images / spec.image for name, spec in SERVICES.items()}
    files[LINUX] = vmlinuz
    took: dict[str, list[float]] = {name: [] for name in (*SERVICES, LINUX)}
    for _ in range(rounds):
        for name, times in took.items():
            with tempfile.TemporaryDirectory(prefix="observer-boot-") as made:
                folder = Path(made)
                make = (
                    _linux(vmlinuz, folder)
                    if name == LINUX
                    else _service(name, images, folder)
                )
                with make as start:
                    times.append(_time_ns(start) / 1e6)
            tell(f"{name} was up after {times[-1]:.0f} ms")
    memory = {name: spec.memory_mib for name, spec in SERVICES.items()}
    return [
        Boot(
            name,
            files[name].stat().st_size,
            memory.get(name, LINUX_MIB),
            [round(ms, 1) for ms in times],
        )
        for name, times in took.items()
    ]
