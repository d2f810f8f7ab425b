# SPDX-License-Identifier: Apache-2.0
"""This host's own ATA over Ethernet initiator (the kernel's drivers/block/aoe)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["device_of", "let_go"]

ETHERD = Path("/dev/etherd")


def device_of(words: str) -> str:
    """The name that an initiator gives the disk of these words, as in e0.0."""
    given = dict(word.split("=", 1) for word in words.split() if "=" in word)
    return f"e{given.get('aoe.shelf', '0')}.{given.get('aoe.slot', '0')}"


def let_go(device: str, etherd: Path = ETHERD) -> bool:
    """Have the initiator forget a disk that nobody has open; whether it has.

    Until then it holds the bridge that it found the disk on, which cannot be removed.
    """
    if not (etherd / device).exists():
        return True
    with suppress(OSError):  # it has forgotten it meanwhile
        (etherd / "flush").write_text(device)
    return not (etherd / device).exists()
