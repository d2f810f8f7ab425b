# SPDX-License-Identifier: Apache-2.0
"""Words of another process's memory by one system call: both ends of a virtio ring."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RingWords", "read_ring_words", "read_u16"]


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class RingWords(msgspec.Struct, frozen=True):
    """What a split ring says in guest memory (virtio 1.2, section 2.7)."""

    avail: int
    used: int
    used_event: int


def read_u16(pid: int, addresses: Sequence[int]) -> list[int]:
    """Read 16-bit words at these addresses of a process, `process_vm_readv(2)`.

    Raises OSError, e.g. ESRCH if it is gone, EFAULT if the memory is.
    May wait for its mmap_lock: call it where waiting harms nobody.
    """
    words = (ctypes.c_uint16 * len(addresses))()
    local = _Iovec(ctypes.addressof(words), ctypes.sizeof(words))
    remote = (_Iovec * len(addresses))(*[_Iovec(a, 2) for a in addresses])
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.process_vm_readv(pid, ctypes.byref(local), 1, remote, len(addresses), 0)
    if got != ctypes.sizeof(words):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return list(words)


def read_ring_words(pid: int, avail: int, used: int, num: int) -> RingWords:
    """Read a ring whose two parts lie at these addresses of the VMM."""
    return RingWords(*read_u16(pid, [avail + 2, used + 2, avail + 4 + 2 * num]))
