# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.errors import HostError
from observer.guests.images import GuestImage
from observer.guests.programs import libraries_of, with_programs

LDD = """
	linux-vdso.so.1 (0x00007ffd8b5f2000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f4c1a400000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f4c1a7d2000)
"""


def test_libraries_lie_where_ldd_says() -> None:
    """The one that the kernel brings lies nowhere."""
    assert libraries_of(LDD) == [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
    ]


def test_programs_follow_the_root(tmp_path: Path) -> None:
    """Theirs is a second archive; the first stays as it was."""
    base = tmp_path / "base"
    base.write_bytes(b"070701base")
    image = GuestImage("vmlinuz", str(base))

    made = with_programs(image, ["ls"], "echo here\n", tmp_path)

    root = Path(made.initrd).read_bytes()
    assert root.startswith(b"070701base070701")
    assert b"bin/ls\0" in root
    assert b"#!/bin/busybox sh\necho here\n" in root
    assert base.read_bytes() == b"070701base"
    assert made.vmlinuz == "vmlinuz"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """Said at once, with its name."""
    base = tmp_path / "base"
    base.touch()
    with pytest.raises(HostError, match="no-such-program"):
        with_programs(GuestImage("", str(base)), ["no-such-program"], "", tmp_path)


def test_a_program_that_was_built_for_guests(tmp_path: Path) -> None:
    """It lies in /bin, and nobody asks what libraries it needs."""
    base, built = tmp_path / "base", tmp_path / "built-for-guests"
    base.touch()
    image = GuestImage("", str(base))
    with pytest.raises(HostError, match="make agents"):
        with_programs(image, [built], "", tmp_path)
    built.write_bytes(b"no ELF at all")

    root = Path(with_programs(image, [built], "", tmp_path).initrd).read_bytes()

    assert b"bin/built-for-guests\0" in root
    assert b"no ELF at all" in root
