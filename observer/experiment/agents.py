# SPDX-License-Identifier: Apache-2.0
"""What a design has inside of a Linux guest: its program, and how that is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AGENTS", "Agent"]

BUILT = "build/experiments"
PEER = "peer=$(sed 's/.*guest.peer=\\([^ ]*\\).*/\\1/' /proc/cmdline)"
"""The host's address, as the guest's kernel was told it."""


class Agent(msgspec.Struct, frozen=True):
    """A program of `experiments/`, by its place there, and the words of its start."""

    place: str
    words: str = ""

    @property
    def program(self) -> Path:
        """As it was built for guests: one for `with_programs`."""
        return checkout() / BUILT / self.place

    def start(self, more: str = "") -> str:
        """The line of a start script; what it says goes to the guest's console.

        `more` are more words for it.
        """
        words = " ".join(filter(None, (self.words, more)))
        return f"/bin/{Path(self.place).name} {words} >/dev/ttyS0 2>&1 &\n"


AGENTS: Mapping[str, Agent] = {
    "in-guest": Agent("in_guest/watchdog", PEER),
    "orbit": Agent("orbit/orbit", PEER),
}
"""By the names of their designs; others have none."""
