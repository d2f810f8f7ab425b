# SPDX-License-Identifier: Apache-2.0
"""ATA over Ethernet: a target's address, and what this host's initiator holds.

The initiator is the kernel's (drivers/block/aoe).
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["held_links", "target_of"]

BLOCK = Path("/sys/block")


def target_of(words: str) -> tuple[int, int]:
    """Shelf and slot of the disk of these words, as the image reads them.

    Raises ValueError where they are no numbers.
    """

    def number(key: str) -> int:
        given = (w.split("=", 1)[1] for w in words.split() if w.startswith(f"{key}="))
        text = next(given, "0")
        return int(text, 16 if text.startswith("0x") else 10)

    return number("aoe.shelf"), number("aoe.slot")


def held_links(block: Path = BLOCK) -> set[str]:
    """Network devices on which the initiator has found disks: it holds each of them.

    To remove one would wait for it.  Nothing tells whether anybody has such a disk
    open, and a flush of it by its name takes it down even so (aoedev.c).
    """
    found = (path.read_text() for path in block.glob("etherd!*/netif"))
    return {name for text in found for name in text.strip().split(",")}
