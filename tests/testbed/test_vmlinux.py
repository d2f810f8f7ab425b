# SPDX-License-Identifier: Apache-2.0
import lzma
import struct

from observer.testbed.vmlinux import unpack

KERNEL = b"\x7fELF" + bytes(5000)


def _bzimage(payload: bytes) -> bytes:
    """One sector of setup, then the payload at some offset."""
    header = bytearray(1024)
    header[0x1F1] = 1
    struct.pack_into("<II", header, 0x248, 77, len(payload))
    return bytes(header) + bytes(77) + payload + b"the rest"


def test_unpacks_what_xz_packed() -> None:
    """The size that follows the packed kernel does not disturb."""
    packed = lzma.compress(KERNEL) + struct.pack("<I", len(KERNEL))

    assert unpack(_bzimage(packed)) == KERNEL


def test_leaves_other_packings_to_the_kernel() -> None:
    """A kernel packed otherwise boots as it is."""
    assert unpack(_bzimage(b"\x28\xb5\x2f\xfd" + bytes(100))) is None


def test_is_wary_of_what_is_no_kernel() -> None:
    """Only an ELF file can be booted directly."""
    assert unpack(_bzimage(lzma.compress(b"something else"))) is None
