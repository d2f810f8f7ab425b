# SPDX-License-Identifier: Apache-2.0
"""Work that is done in the guest alone, for a time, and told on its console."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from observer.errors import DeadlineError, ProgramError
from observer.guests.linux import last_words
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from observer.guests.guest import Guest

__all__ = ["work_for", "work_script"]

PATIENCE_SECONDS = 60.0
_ENDED = re.compile(r"work ended with (\d+)\s")


def work_script(lines: str) -> str:
    """Shell lines that make what the order `work SECONDS` runs; `$1` is the seconds."""
    return f"cat >/work <<'END'\n#!/bin/busybox sh\n{lines}END\nchmod +x /work\n"


def work_for(guest: Guest, seconds: float) -> str:
    """Have the guest work for so many whole seconds; what it said of that."""
    before, lasts = len(guest.console()), max(round(seconds), 1)
    guest.order(f"work {lasts}")

    def said() -> str:
        return guest.console()[before:]

    try:
        wait_until(
            lambda: _ENDED.search(said()) is not None,
            lasts + PATIENCE_SECONDS,
            f"the work of {guest.name} ended",
        )
    except DeadlineError as e:
        raise DeadlineError(f"{e.message} {last_words(guest)}") from e
    ended = _ENDED.search(said())
    if ended is None or ended[1] != "0":
        raise ProgramError(f"The work of {guest.name} failed: {last_words(guest)}")
    return said()
