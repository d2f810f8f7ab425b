# SPDX-License-Identifier: Apache-2.0
"""Unpacks the kernel out of a bzImage, so that an emulated CPU need not do it.

QEMU boots the ELF file inside directly (PVH), which takes a third off the boot of an
emulated nested host with Debian 12's kernel.
"""

from __future__ import annotations

import lzma
import struct

__all__ = ["unpack"]

# The kernel's Documentation/arch/x86/boot.rst.
_SETUP_SECTORS = 0x1F1
_PAYLOAD = 0x248
_SECTOR_BYTES = 512
_XZ = b"\xfd7zXZ"
_ELF = b"\x7fELF"


def unpack(bzimage: bytes) -> bytes | None:
    """The ELF file in a bzImage, or None where it is not packed with xz.

    What newer kernels are packed with is quickly unpacked even by an emulated CPU.
    """
    setup_sectors = bzimage[_SETUP_SECTORS] or 4
    offset, length = struct.unpack_from("<II", bzimage, _PAYLOAD)
    start = (setup_sectors + 1) * _SECTOR_BYTES + offset
    payload = bzimage[start : start + length]
    if not payload.startswith(_XZ):
        return None
    # The unpacked size follows, which lzma.decompress would take for another stream.
    elf = lzma.LZMADecompressor().decompress(payload)
    return elf if elf.startswith(_ELF) else None
