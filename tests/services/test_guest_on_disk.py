# SPDX-License-Identifier: Apache-2.0
"""An unmodified Linux guest on the disk service; mkfs, fsck and fio are the oracles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.programs import with_programs
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.images import GuestImage

pytestmark = [
    pytest.mark.guest,
    pytest.mark.newest,
    pytest.mark.timeout(600),
]

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
echo "all of it ended with $?."
}} >/dev/ttyS0 2>&1 &
"""

# To its full stop: a line on a serial port is seen while it is being said.
ENDED = re.compile(r"all of it ended with \d+\.")


def test_a_guest_lives_on_it(
    block_device: Path, image: GuestImage, tmp_path: Path
) -> None:
    """A file system is made and checked, random writes of four jobs are verified."""
    spec = GuestSpec("ondisk", subnet=78, memory_mib=512, disk=str(block_device))
    with linux_guest(spec, with_programs(image, PROGRAMS, START, tmp_path)) as guest:
        wait_until(lambda: bool(ENDED.search(guest.console())), 200, "fio ended")
        said = guest.console()
    assert "all of it ended with 0." in said, said[-2000:]
