# SPDX-License-Identifier: Apache-2.0
"""A BPF ring buffer whose samples all have one size, read in batches by numpy.

libbpf calls back for each sample, which in Python takes longer than the event took.
The layout is kernel/bpf/ringbuf.c's: a page with what was consumed, one with what was
produced, and the data twice in a row; each sample has a header of 8 bytes.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["EventRing", "whole_samples"]

BUSY, DISCARDED = 1 << 31, 1 << 30  # include/uapi/linux/bpf.h: BPF_RINGBUF_*_BIT


def sample_of(event: np.dtype[Any]) -> np.dtype[Any]:
    """A header, and the event padded to 8 bytes."""
    size = 8 + -(-event.itemsize // 8) * 8
    return np.dtype(
        {
            "names": ["length", "event"],
            "formats": ["u4", event],
            "offsets": [0, 8],
            "itemsize": size,
        }
    )


def whole_samples(samples: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]]:
    """How many are over before the first that is still being written; their events."""
    busy = np.flatnonzero(samples["length"] & BUSY)
    count = int(busy[0]) if len(busy) else len(samples)
    done = samples[:count]
    return count, done["event"][done["length"] & DISCARDED == 0].copy()


class EventRing:
    """The consumer's side; its size is a power of two, and so must a sample's be."""

    def __init__(self, fd: int, size_bytes: int, event: np.dtype[Any]) -> None:
        sample = sample_of(event)
        if size_bytes % sample.itemsize:
            raise ValueError(
                f"samples of {sample.itemsize} bytes would straddle its end"
            )
        page = mmap.PAGESIZE
        self._ours = mmap.mmap(fd, page)
        self._theirs = mmap.mmap(
            fd, page + 2 * size_bytes, prot=mmap.PROT_READ, offset=page
        )
        self._consumed = np.frombuffer(self._ours, "u8", 1)
        self._produced = np.frombuffer(self._theirs, "u8", 1)
        count = size_bytes // sample.itemsize
        # twice: what goes on at the beginning can be read in one piece
        self._samples = np.frombuffer(self._theirs, sample, 2 * count, page)
        self._count, self._sample_bytes = count, sample.itemsize

    def take(self) -> npt.NDArray[Any]:
        """All that is whole by now, in order."""
        begin = int(self._consumed[0]) // self._sample_bytes
        end = int(self._produced[0]) // self._sample_bytes
        first = begin % self._count
        count, events = whole_samples(self._samples[first : first + end - begin])
        self._consumed[0] = (begin + count) * self._sample_bytes
        return events
