# SPDX-License-Identifier: Apache-2.0
"""This host's own ATA over Ethernet initiator (the kernel's drivers/block/aoe)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["device_of", "is_known"]

ETHERD = Path("/dev/etherd")


def device_of(words: str) -> str:
    """The name that an initiator gives the disk of these words, as in e0.0."""
    given = dict(word.split("=", 1) for word in words.split() if "=" in word)
    return f"e{given.get('aoe.shelf', '0')}.{given.get('aoe.slot', '0')}"


def is_known(device: str, etherd: Path = ETHERD) -> bool:
    """Whether the initiator has found this disk: it then holds the bridge it lies on.

    Nothing tells whether anybody has it open, and a flush of a device by its name takes
    it down even so (aoedev.c), with what is under way.
    """
    return (etherd / device).exists()
