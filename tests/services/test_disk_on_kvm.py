# SPDX-License-Identifier: Apache-2.0
"""The disk service and the host's AoE initiator; mkfs, fsck, the file are oracles."""

from __future__ import annotations

import math
import mmap
import os
import random
import re
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from broken_service import Service
from pyroute2 import IPRoute
from traces import parked_bytes

from observer.guests.waiting import wait_until
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.service,
    pytest.mark.newest,
    pytest.mark.timeout(300),
]

DISK = ServiceFolder(RUNTIME / "disk")
FILE = Path("/var/lib/observer/disk.img")
BLOCK = 4096
TICK_MS = 100  # TIMERTICK of drivers/block/aoe
RTT = re.compile(r"^rttavg: (\d+) rttdev: (\d+)$", re.MULTILINE)
LEARNT = Path("/sys/kernel/debug/aoe/e0.0")


@pytest.fixture
def device(block_device: Path) -> Iterator[int]:
    """The disk, opened past this host's cache."""
    fd = os.open(block_device, os.O_RDWR | os.O_DIRECT)
    yield fd
    os.close(fd)


def test_a_filesystem_holds_on_it(
    block_device: Path, device: int, run: Callable[..., str]
) -> None:
    """Made and checked through the initiator; what was written is in the file."""
    disk_bytes = os.lseek(device, 0, os.SEEK_END)
    assert disk_bytes == FILE.stat().st_size
    run("mkfs.ext4", "-q", "-F", str(block_device))
    run("e2fsck", "-f", "-n", str(block_device))

    buffer, chance = mmap.mmap(-1, BLOCK), random.Random(7)  # noqa: S311 - not for secrets
    written = {}
    for _ in range(64):
        at = chance.randrange(disk_bytes // BLOCK) * BLOCK
        written[at] = buffer[:] = chance.randbytes(BLOCK)
        assert os.pwrite(device, buffer, at) == BLOCK
    os.fsync(device)

    for at, data in written.items():
        assert os.preadv(device, [buffer], at) == BLOCK
        assert buffer[:] == data
        assert block_in_file(at) == data


def block_in_file(at: int) -> bytes:
    with FILE.open("rb") as file:
        file.seek(at)
        return file.read(BLOCK)


def test_a_block_that_was_sent_twice_keeps_what_was_written(device: int) -> None:
    """Its writer goes on when the first is answered; the second still waits."""
    written, later = b"written." * (BLOCK // 8), b"later..." * (BLOCK // 8)
    buffer, other = mmap.mmap(-1, BLOCK), mmap.mmap(-1, BLOCK)
    for n in range(50):
        os.pwrite(device, other, n * BLOCK)  # it knows its round trip
    buffer[:], at = written, 1000 * BLOCK
    thread = threading.Thread(target=os.pwrite, args=(device, buffer, at))
    disk = Service("disk")
    with IPRoute() as ip:
        (tap,) = ip.link_lookup(ifname="obs-disk")
        for count in (1, 2):
            ip.tc("change", "plug", tap, action="TCQ_PLUG_BUFFER")
            if count == 1:
                thread.start()
            wait_until(
                lambda c=count: parked_bytes(disk) > c * BLOCK, 30, "it was sent"
            )
        ip.tc("change", "plug", tap, action="TCQ_PLUG_RELEASE_ONE")
        wait_until(lambda: block_in_file(at) == written, 30, "the first was served")
        thread.join(1.0)
        if not thread.is_alive():
            buffer[:] = later
        ip.tc("change", "plug", tap, action="TCQ_PLUG_RELEASE_INDEFINITE")
        thread.join(60)
        assert not thread.is_alive()
        wait_until(lambda: not parked_bytes(disk), 30, "nothing waited")
    for n in range(50):
        os.pwrite(device, other, n * BLOCK)  # served after all that waited
    assert block_in_file(at) == written


class Writer:
    """Writes blocks one after another; when each was done."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._over = threading.Event()
        self.done_ns: list[int] = []
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        buffer = mmap.mmap(-1, BLOCK)
        while not self._over.is_set():
            number = len(self.done_ns)
            buffer[:] = number.to_bytes(8, "little") * (BLOCK // 8)
            os.pwrite(self._device, buffer, number % 1024 * BLOCK)
            self.done_ns.append(time.time_ns())

    def first_after(self, moment_ns: int) -> int | None:
        return next((t for t in self.done_ns if t > moment_ns), None)

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def answered_ms() -> float:
    """When it asks next, it is answered as fast as the initiator has learnt: `rto`."""
    learnt = RTT.search(LEARNT.read_text())
    assert learnt is not None
    rtt_ms, spread_ms = (int(us) / 1000 for us in learnt.groups())
    rto_ms = 2 * rtt_ms + 8 * spread_ms
    return math.ceil(rto_ms / TICK_MS) * TICK_MS + rto_ms


def test_io_goes_on_when_the_target_is_back(
    device: int,
    service: Callable[..., str],
    record_property: Callable[[str, object], None],
) -> None:
    """Killed under load and away for 3 s: no error, nothing lost, and no long wait."""
    writer = Writer(device)
    wait_until(lambda: len(writer.done_ns) > 400, 60, "it knew its round trip")
    longest_ms = answered_ms()
    record_property("longest_ms", longest_ms)
    record = read_record(DISK)
    assert record is not None
    os.kill(record.keeper, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{record.pid}").exists(), 10, "it was gone")
    time.sleep(3)  # the initiator backs off meanwhile
    service("up", "disk")
    back_ns = DISK.vm.console.stat().st_mtime_ns  # it says "disk up"
    wait_until(lambda: writer.first_after(back_ns) is not None, 60, "it wrote again")
    gap_ms = ((writer.first_after(back_ns) or 0) - back_ns) / 1e6
    record_property("io_gap_ms", gap_ms)
    wait_until(lambda: len(writer.done_ns) > 200, 60, "it wrote on")
    writer.end()

    buffer = mmap.mmap(-1, BLOCK)
    for number in range(max(0, len(writer.done_ns) - 1024), len(writer.done_ns)):
        os.preadv(device, [buffer], number % 1024 * BLOCK)
        assert buffer[:8] == number.to_bytes(8, "little"), number
    assert gap_ms < longest_ms
