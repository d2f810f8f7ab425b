# SPDX-License-Identifier: Apache-2.0
"""An unmodified Linux guest on the disk service; mkfs, fsck and fio are the oracles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.programs import with_programs
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.guests.images import GuestImage

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(300)]

FILE = Path("/var/lib/observer/disk.img")
DEVICE = Path("/dev/etherd/e0.0")
DISK_MIB = 64
PROGRAMS = ("mkfs.ext4", "e2fsck", "fio")
FIO = (
    "fio --name=v --filename=/dev/vda --rw=randwrite --bs=4k --size=2M --numjobs=4 "
    "--offset_increment=4M --ioengine=psync --direct=1 --fdatasync=32 "
    "--verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting --minimal"
)
START = f"""
mkdir -p /tmp
{{
mkfs.ext4 -q -F /dev/vda && e2fsck -f -n /dev/vda && {FIO}
echo "all of it ended with $?"
}} >/dev/ttyS0 2>&1 &
"""


def service(*words: str) -> None:
    argv = [sys.executable, "-m", "observer", "service", *words]
    subprocess.run(argv, check=True, timeout=120)


@pytest.fixture
def device() -> Iterator[str]:
    """The disk service's disk, as a block device of this host."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    service("up", "disk")
    subprocess.run(["modprobe", "aoe", "aoe_iflist=obs-storage"], check=True)
    wait_until(DEVICE.exists, 30, f"{DEVICE} was there")
    yield str(DEVICE)
    subprocess.run(["modprobe", "-r", "aoe"], check=True)
    service("down", "disk")


def test_a_guest_lives_on_it(device: str, image: GuestImage, tmp_path: Path) -> None:
    """A file system is made and checked, random writes of four jobs are verified."""
    spec = GuestSpec("ondisk", subnet=78, memory_mib=512, disk=device)
    with linux_guest(spec, with_programs(image, PROGRAMS, START, tmp_path)) as guest:
        wait_until(lambda: "all of it ended" in guest.console(), 200, "fio had ended")
        said = guest.console()
    assert "all of it ended with 0" in said, said[-2000:]
