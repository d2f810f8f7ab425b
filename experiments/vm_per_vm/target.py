# SPDX-License-Identifier: Apache-2.0
"""What a responder is told of its target: where in its memory it is to look."""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from kernel_symbols import symbols_of

from observer.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_symbols import KernelSymbols, Memory
    from qemu.qmp import QMPClient

__all__ = ["Ring", "kernel_orders", "memory_of", "ring_orders", "rings_of"]

CLOCK, PANIC, OFFSETS = "last_jiffies_update", "panic_cpu", "__per_cpu_offset"
DIRECT_MAP = "page_offset_base"
TICK_DEVICE, STEAL_TIME = "tick_cpu_device", "steal_time"
WANTED = (CLOCK, PANIC, OFFSETS, DIRECT_MAP, TICK_DEVICE, STEAL_TIME)
# As `unikernels/responder/rules.h` has them.
OWED_BY_BACKEND, OWED_BY_GUEST = 1, 2
RAM_FILES = ("/memfd:memory-backend-memfd", "/ram")
ENTRY = "virtio-backend"


class Ring(msgspec.Struct, frozen=True):
    """Places of a split ring in the memory of its guest, and who owes work on it."""

    name: str
    size: int
    avail: int
    used: int
    owed: int


# -- the kernel ---------------------------------------------------------------------


@contextmanager
def memory_of(pid: int, proc: Path = Path("/proc")) -> Iterator[int]:
    """The descriptor of a VM's memory, by which it cannot be written.

    Raises ProgramError where no file holds it.
    """
    for fd in (proc / f"{pid}/fd").iterdir():
        try:
            target = str(fd.readlink()).removesuffix(" (deleted)")
        except FileNotFoundError:
            continue
        if target.endswith(RAM_FILES):
            ours = os.open(fd, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield ours
            finally:
                os.close(ours)
            return
    raise ProgramError(f"Process {pid} shares no memory of its VM that could be read.")


def _orders(
    symbols: KernelSymbols, banner_place: int, memory: Memory, vcpus: int
) -> list[str]:
    def place(name: str) -> int:
        return symbols.place(name, banner_place)

    direct_map = place(DIRECT_MAP)
    (mapped,) = struct.unpack("<Q", memory[direct_map : direct_map + 8])
    offsets = (symbols.addresses[name] for name in (TICK_DEVICE, STEAL_TIME))
    of_cpus = (place(OFFSETS), mapped, *offsets)
    return [
        f"clock {place(CLOCK):#x}",
        f"panic {place(PANIC):#x}",
        f"cpus {vcpus} {' '.join(f'{number:#x}' for number in of_cpus)}",
    ]


def kernel_orders(memory_fd: int, vcpus: int, known: Path) -> list[str]:
    """What tells the responder of the guest's kernel.  Raises ProgramError."""
    with mmap.mmap(memory_fd, 0, prot=mmap.PROT_READ) as memory:
        symbols, banner_place = symbols_of(memory, WANTED, known)
        return _orders(symbols, banner_place, memory, vcpus)


# -- its rings ----------------------------------------------------------------------


def owed_on(device: str, queue: int, queues: int) -> int:
    """Who owes work on a queue of a device of this kind; 0: it is not watched.

    A network's even queues receive: they are full of buffers that nobody owes.  By its
    odd ones it sends, and may let lie what was sent.  The last one is for control.
    """
    if device.endswith("blk"):
        return OWED_BY_BACKEND | OWED_BY_GUEST
    if device != "virtio-net" or (queues % 2 and queue == queues - 1):
        return 0
    return OWED_BY_BACKEND if queue % 2 else OWED_BY_GUEST


def ring_of(name: str, owed: int, status: dict[str, Any]) -> Ring | None:
    """What QEMU says of a queue; None: its driver does not use it.

    The words differ: `x-query-virtio-vhost-queue-status` knows host addresses as well.
    """
    end = "-phys" if "avail-phys" in status else ""
    start = "" if end else "vring-"
    if not status[f"{start}desc{end}"]:
        return None
    return Ring(
        name=name,
        size=status[f"{start}num"],
        avail=status[f"{start}avail{end}"],
        used=status[f"{start}used{end}"],
        owed=owed,
    )


async def rings_of(monitor: QMPClient) -> list[Ring]:
    """The rings of a VM whose driver is up, by its monitor.

    `x-query-virtio-queue-status` asks a vhost-user back end for the base of the ring,
    by which it stops to serve it: where vhost is, only what QEMU itself knows is asked.
    """
    rings = []
    devices: Any = await monitor.execute("x-query-virtio")
    for device in devices:
        path, kind = {"path": device["path"]}, device["name"]
        status: Any = await monitor.execute("x-query-virtio-status", path)
        ask = "x-query-virtio-queue-status"
        if status["vhost-started"]:
            ask = "x-query-virtio-vhost-queue-status"
        name = device["path"].removesuffix(f"/{ENTRY}").rpartition("/")[2]
        for queue in range(status["num-vqs"]):
            if owed := owed_on(kind, queue, status["num-vqs"]):
                answer: Any = await monitor.execute(ask, {**path, "queue": queue})
                if ring := ring_of(f"{name} queue {queue}", owed, answer):
                    rings.append(ring)
    return rings


def ring_orders(rings: list[Ring]) -> list[str]:
    """What tells the responder of them; it calls them by their numbers here."""
    return [
        f"ring {k} {ring.size} {ring.avail:#x} {ring.used:#x} {ring.owed}"
        for k, ring in enumerate(rings)
    ]
