# SPDX-License-Identifier: Apache-2.0
"""A ring of one size of samples, as the kernel lays it out, in plain memory."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest

from observer.kernel.event_ring import BUSY, DISCARDED, EventRing, sample_of
from observer.replay.event import EVENT

SIZE, PAGE = 16384, mmap.PAGESIZE
COUNT = SIZE // 32


class Kernel:
    """The producer: its data lies twice, as the kernel maps it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self._memory = mmap.mmap(self.fd, 0)
        self._produced = np.frombuffer(self._memory, "u8", 1, PAGE)
        self._samples = np.frombuffer(
            self._memory, sample_of(EVENT), 2 * COUNT, 2 * PAGE
        )

    def tell(self, number: int, flags: int = 0) -> None:
        at = int(self._produced[0]) // 32 % COUNT
        for place in (at, at + COUNT):
            self._samples[place]["length"] = EVENT.itemsize | flags
            self._samples[place]["event"]["ns"] = number
        self._produced[0] += 32

    def commit(self, place: int) -> None:
        for at in (place, place + COUNT):
            self._samples[at]["length"] = EVENT.itemsize


def test_all_comes_once_and_in_order_round_the_end() -> None:
    """In batches of any size, also one that goes on at the beginning."""
    kernel = Kernel()
    ring, number, taken = EventRing(kernel.fd, SIZE, EVENT), 0, list[int]()
    for batch in (0, 1, 300, 400, 511, 512, 3):
        for _ in range(batch):
            kernel.tell(number := number + 1)
        taken += ring.take()["ns"].tolist()

    assert taken == list(range(1, number + 1))


def test_what_is_still_written_holds_up_what_is_behind_it() -> None:
    """And what was given up is passed over."""
    kernel = Kernel()
    ring = EventRing(kernel.fd, SIZE, EVENT)
    kernel.tell(1)
    kernel.tell(2, DISCARDED)
    kernel.tell(3, BUSY)
    kernel.tell(4)
    assert ring.take()["ns"].tolist() == [1]
    assert ring.take()["ns"].tolist() == []
    kernel.commit(2)
    assert ring.take()["ns"].tolist() == [3, 4]


def test_samples_that_would_straddle_the_end_are_refused() -> None:
    """They could not be read as an array."""
    kernel = Kernel()
    with pytest.raises(ValueError, match="straddle"):
        EventRing(kernel.fd, SIZE, np.dtype([("a", "u8"), ("b", "u8")]))
