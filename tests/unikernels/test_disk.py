# SPDX-License-Identifier: Apache-2.0
"""The disk service, asked by an initiator of our own; the file beneath is the oracle.

Frames are laid out by the AoE protocol's definition (S. Hopkins, B. Coile).
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import pytest
from service_vm import ADDRESS, MACHINES, ServiceVm, Wire, service_vm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECTOR = 512
SECTORS = 4096
US = bytes.fromhex("020000000a01")
STRANGER = bytes.fromhex("020000000a02")
TARGET = bytes.fromhex(ADDRESS.format(0).replace(":", ""))
SHELF, SLOT = 3, 1
HEADER = struct.Struct("!6s6sHBBHBBI")
ATA = struct.Struct("!BBBB6s2x")
CONFIG = struct.Struct("!HHBBH")
READ, WRITE, FLUSH, IDENTIFY = 0x24, 0x34, 0xEA, 0xEC
LBA48 = 0x40


def noise(seed: int, sectors: int) -> bytes:
    """Bytes that no mistake would make, the same each time."""
    return hashlib.shake_256(bytes([seed])).digest(sectors * SECTOR)


@pytest.fixture(scope="module", params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    """Its disk and wire are behind virtio-mmio, or behind PCI."""
    return str(request.param)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, machine: str) -> Path:
    """The disk's file, with known bytes in it."""
    path = tmp_path_factory.mktemp(f"disk-{machine}") / "disk.raw"
    path.write_bytes(noise(7, SECTORS))
    return path


@pytest.fixture(scope="module")
def disk(file: Path, machine: str) -> Iterator[ServiceVm]:
    """A disk service whose wire may be jumbo."""
    words = f"faults=on mtu=9000 aoe.shelf={SHELF} aoe.slot={SLOT} "
    words += f"aoe.allow={US.hex(':')}"
    with service_vm("disk", file.parent, 1, words, file, machine=machine) as vm:
        assert is_config(vm.wires[0].receive(), SHELF, SLOT)  # its announcement
        yield vm


def is_config(frame: bytes | None, shelf: int, slot: int) -> bool:
    assert frame is not None
    fields = HEADER.unpack_from(frame)
    return fields[3] & 0x08 and fields[5:8] == (shelf, slot, 1)


def request(command: int, tag: int, body: bytes, source: bytes = US) -> bytes:
    head = HEADER.pack(TARGET, source, 0x88A2, 0x10, 0, SHELF, SLOT, command, tag)
    return (head + body).ljust(60, b"\0")


def ata(command: int, sector: int, count: int, tag: int, data: bytes = b"") -> bytes:
    lba = sector.to_bytes(6, "little")
    return request(0, tag, ATA.pack(LBA48, 0, count, command, lba) + data)


def ask(wire: Wire, frame: bytes) -> tuple[int, int, bytes]:
    """Status and error of the answer, and what follows its registers."""
    wire.send(frame)
    answer = wire.receive()
    assert answer is not None
    to, source, kind, flags, _, shelf, slot, command, tag = HEADER.unpack_from(answer)
    assert (to, source, kind) == (US, TARGET, 0x88A2)
    assert (shelf, slot, command) == (SHELF, SLOT, frame[19])
    assert tag == struct.unpack_from("!I", frame, 20)[0]
    assert flags & 0x08
    _, error, _, status, _ = ATA.unpack_from(answer, HEADER.size)
    return status, error, answer[HEADER.size + ATA.size :]


def test_it_says_who_it_is(disk: ServiceVm) -> None:
    """Config and identify tell how it is used and how large it is."""
    disk.wires[0].send(request(1, 5, CONFIG.pack(0, 0, 0, 0, 0)))
    answer = disk.wires[0].receive()
    assert is_config(answer, SHELF, SLOT)
    buffers, _, sectors, version, _ = CONFIG.unpack_from(answer, HEADER.size)
    status, _, words = ask(disk.wires[0], ata(IDENTIFY, 0, 1, 6))

    assert (buffers > 0, sectors, version >> 4) == (True, 17, 1)
    assert status == 0x40
    assert struct.unpack_from("<Q", words, 200)[0] == SECTORS
    assert struct.unpack_from("<I", words, 120)[0] == SECTORS
    assert struct.unpack_from("<H", words, 166)[0] & 0x0400  # LBA48


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17])
def test_what_is_read_is_in_the_file(disk: ServiceVm, file: Path, count: int) -> None:
    """Frames of one buffer and of several."""
    status, _, data = ask(disk.wires[0], ata(READ, 100, count, 1))

    assert status == 0x40
    assert data == file.read_bytes()[100 * SECTOR : (100 + count) * SECTOR]


@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_what_is_written_is_in_the_file(
    disk: ServiceVm, file: Path, count: int
) -> None:
    """After a flush at the latest, and nothing beside it."""
    before = file.read_bytes()
    data = noise(count, count)
    assert ask(disk.wires[0], ata(WRITE, 200, count, 1, data))[0] == 0x40
    assert ask(disk.wires[0], ata(FLUSH, 0, 0, 2))[0] == 0x40

    first, last = 200 * SECTOR, (200 + count) * SECTOR
    assert file.read_bytes() == before[:first] + data + before[last:]


@pytest.mark.parametrize(
    "frame",
    [
        ata(READ, SECTORS, 1, 1),
        ata(READ, SECTORS - 1, 2, 1),
        ata(READ, 2**48 - 1, 1, 1),
        ata(READ, 0, 18, 1),
        ata(READ, 0, 0, 1),
        ata(0x99, 0, 1, 1),
    ],
    ids=["beyond", "across the end", "far", "too many", "none", "unknown"],
)
def test_what_cannot_be_is_refused(disk: ServiceVm, frame: bytes) -> None:
    """By the ATA status, and the disk serves on."""
    status, error, _ = ask(disk.wires[0], frame)

    assert (status, error) == (0x41, 0x04)
    assert ask(disk.wires[0], ata(READ, 0, 1, 1))[0] == 0x40


def test_strangers_and_nonsense_get_no_answer(disk: ServiceVm) -> None:
    """Who is not on its list, other shelves, frames cut short."""
    good = ata(READ, 0, 1, 1)
    stranger = good[:6] + STRANGER + good[12:]
    other_shelf = good[:16] + b"\x00\x09" + good[18:]
    short_write = ata(WRITE, 0, 2, 1, b"x" * SECTOR)
    before = disk.control.stats("disk")["ignored"]
    disk.wires[0].send(stranger, other_shelf, short_write, b"\0" * 14)

    assert disk.wires[0].receive(0.3) is None
    assert disk.control.stats("disk")["ignored"] == before + 3  # the last is no AoE


@pytest.mark.parametrize("part", ["driver", "target"])
def test_a_part_that_hangs_answers_after_its_reset(disk: ServiceVm, part: str) -> None:
    """Requests wait; none is lost, none done twice."""
    fault = {"driver": "disk-hang", "target": "target-hang"}[part]
    assert disk.control.order(f"fault {fault}") == f"ok fault {fault}"
    disk.wires[0].send(*(ata(READ, n, 1, n) for n in range(20)))
    assert disk.wires[0].receive(0.3) is None
    assert disk.control.order(f"reset {part}") == f"ok reset {part}"

    answers = [disk.wires[0].receive() for _ in range(20)]
    tags = [struct.unpack_from("!I", a, 20)[0] for a in answers if a]
    assert sorted(tags) == list(range(20))
    assert disk.wires[0].receive(0.1) is None


def test_a_disk_for_nobody_does_not_start(tmp_path: Path) -> None:
    """Without a list of initiators it says what is missing."""
    file = tmp_path / "other.raw"
    file.write_bytes(bytes(SECTOR))
    with (
        pytest.raises(AssertionError, match="QEMU has ended"),
        service_vm("disk", tmp_path, 1, "", file),
    ):
        pass

    console = (tmp_path / "disk.console").read_text()
    assert "aoe.allow= names no initiator" in console
