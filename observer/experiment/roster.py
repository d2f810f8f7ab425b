# SPDX-License-Identifier: Apache-2.0
"""Which test guests are up, for comparators: they come and go while one watches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from observer.errors import ObserverError
from observer.experiment.comparator import say_watched
from observer.guests.guest import RUNTIME, Guest, find_guest, guest_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Roster"]

LOOK_SECONDS = 1.0


class Roster:
    """Guests by the process of their VMM; looked for once a second at most.

    That one is found is that it is watched, unless said otherwise.
    """

    def __init__(
        self,
        runtime: Path = RUNTIME,
        clock: Callable[[], float] = time.monotonic,
        found: Callable[[str, int], None] = say_watched,
    ) -> None:
        """`found` is told the name and the VMM of each life of a guest."""
        self._runtime, self._clock, self._found = runtime, clock, found
        self._looked = float("-inf")
        self._lives: dict[int, Guest] = {}

    def lives(self) -> dict[int, Guest]:
        """Each life of a guest, until its folder is gone; a new one is noted."""
        if self._clock() - self._looked < LOOK_SECONDS:
            return self._lives
        self._looked, before = self._clock(), self._lives
        self._lives = {}
        for name in guest_names(self._runtime):
            try:
                guest = find_guest(name, self._runtime)
                self._lives[guest.pid] = guest
            except ObserverError:
                continue  # it comes up, or ends, just now
        for pid in self._lives.keys() - before.keys():
            self._found(self._lives[pid].name, pid)
        return self._lives
