# SPDX-License-Identifier: Apache-2.0
"""News of VMs, read together: however many there are, one scan at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["NEW", "News"]

NEW = -1
"""No slot: whoever is not known yet, and so is read in any case."""
SETTLE_SECONDS = 0.02  # VMs that start together are read together


class News:
    """Slots of VMs that are to be read anew; None is all."""

    def __init__(self, read: Callable[[set[int | None]], Awaitable[None]]) -> None:
        self._read = read
        self._slots: set[int | None] = set()
        self._done, self._turn = asyncio.Event(), asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    def tell(self, vm_slot: int | None) -> asyncio.Event:
        """Have it read soon; the event is set when that is done."""
        self._slots.add(vm_slot)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return self._done

    async def read(self, slots: set[int | None]) -> None:
        """Read them now, or once those have been that are being read."""
        async with self._turn:
            await self._read(slots)

    async def _read_all(self) -> None:
        while self._slots:  # a scan may have passed by what was told meanwhile
            await asyncio.sleep(SETTLE_SECONDS)
            slots, self._slots = self._slots, set()
            done, self._done = self._done, asyncio.Event()
            try:
                await self.read(slots)
            finally:
                done.set()

    def cancel(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
