# SPDX-License-Identifier: Apache-2.0
"""A responder under emulation, the memory that it watches in our hands."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING

import pytest
from service_vm import service_vm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service_vm import ServiceVm

SIZE = 16 << 20
CLOCK, PANIC, OFFSETS, OWN, DEVICE = 0x100, 0x108, 0x200, 0x1000, 0x1100
AVAIL, USED, RING = 0x8000, 0x9000, 16
DIRECT_MAP = 0xFFFF888000000000
CPUS = f"cpus 1 {OFFSETS:#x} {DIRECT_MAP:#x} 0x40 0x80"
MS = 1_000_000


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[mmap.mmap]:
    """Of an idle guest with one CPU and one ring."""
    file = tmp_path / "memory"
    file.write_bytes(b"\0" * SIZE)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), SIZE) as memory:
        for place, value in (
            (PANIC, 0xFFFFFFFF),
            (OFFSETS, DIRECT_MAP + OWN),
            (OWN + 0x40, DIRECT_MAP + DEVICE),
            (DEVICE + 24, 2**63 - 1),
        ):
            struct.pack_into("<Q", memory, place, value)
        yield memory


def _found(line: str) -> bool:
    return line.startswith("found ")


def _looks(vm: ServiceVm) -> int:
    return vm.control.stats("responder")["looks"]


@pytest.fixture
def responder(memory: mmap.mmap, tmp_path: Path) -> Iterator[ServiceVm]:
    """One that was told of all of it and watches."""
    other, words = tmp_path / "memory", "watch.ms=5 vcpu.ms=50"
    assert len(memory) == SIZE
    with service_vm(
        "responder", tmp_path, 0, words, machine="microvm-pci", other=other
    ) as vm:
        rings = f"ring 0 {RING} {AVAIL:#x} {USED:#x} 3"
        for line in (f"clock {CLOCK:#x}", f"panic {PANIC:#x}", CPUS, rings, "watch"):
            assert vm.control.order(line) == f"ok {line}"
        while not _looks(vm):  # before anything moves
            pass
        yield vm


def test_it_finds_what_goes_wrong(memory: mmap.mmap, responder: ServiceVm) -> None:
    """A timer that is overdue, requests that nobody serves, a panic."""
    struct.pack_into("<Q", memory, CLOCK, 1000 * MS)
    struct.pack_into("<Q", memory, DEVICE + 24, 900 * MS)
    assert responder.control.hear(_found).startswith("found all 0 ")

    struct.pack_into("<H", memory, AVAIL + 2, 3)
    assert responder.control.hear(_found) == "found backend 0 3"

    struct.pack_into("<Q", memory, CLOCK, 1004 * MS)
    struct.pack_into("<Q", memory, DEVICE + 24, 2**63 - 1)
    struct.pack_into("<H", memory, USED + 2, 3)
    struct.pack_into("<H", memory, AVAIL + 4 + 2 * RING, 3)
    assert responder.control.hear(_found) == "found well 0 0"

    struct.pack_into("<I", memory, PANIC, 0)
    assert responder.control.hear(_found) == "found panic 0 0"


def test_it_says_nothing_of_an_idle_guest(
    memory: mmap.mmap, responder: ServiceVm
) -> None:
    """And what stands in the target's memory leads it nowhere else."""
    struct.pack_into("<Q", memory, OWN + 0x40, 2**64 - 1)
    struct.pack_into("<Q", memory, CLOCK, 1000 * MS)
    before = _looks(responder)
    said = []
    while _looks(responder) < before + 50:
        responder.control.say("version")
        said.append(responder.control.hear(lambda line: not line.startswith("ok ")))

    assert set(said) == {"version 1"}
    responder.control.say("stats")
    line = responder.control.hear(lambda said: said.startswith("stats responder "))
    assert " refused=0 " not in line
    assert f" bytes={SIZE} " in line


@pytest.mark.parametrize(
    "line",
    [
        f"clock {SIZE:#x}",
        "clock 0x101",
        f"panic {SIZE - 2:#x}",
        f"cpus 1 {SIZE:#x} 0x0 0x0 0x0",
        "cpus 65 0x200 0x0 0x0 0x0",
        f"ring 0 16 {AVAIL:#x} {SIZE - 16:#x} 3",
        f"ring 64 16 {AVAIL:#x} {USED:#x} 3",
        f"ring 0 15 {AVAIL:#x} {USED:#x} 3",
        f"ring 0 16 {AVAIL:#x} {USED:#x} 4",
        f"ring 0 16 {AVAIL:#x} {USED:#x}",
        "watching",
    ],
)
def test_it_refuses_what_lies_outside(responder: ServiceVm, line: str) -> None:
    """And whatever it does not understand."""
    assert responder.control.order(line) == f"refused {line}"
