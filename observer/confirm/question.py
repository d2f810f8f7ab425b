# SPDX-License-Identifier: Apache-2.0
"""The explicit heartbeat: one frame on a guest's tap, which any guest must consume.

EtherType 0x88B5 is reserved by IEEE 802 for local experiments: no stack answers it,
yet the driver has to take it out of its ring, and that is seen from outside.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ETHERTYPE", "FRAME", "Questions"]

ETHERTYPE = 0x88B5
SOURCE = bytes.fromhex("020000000001")  # locally administered
FRAME = (
    b"\xff" * 6 + SOURCE + ETHERTYPE.to_bytes(2, "big") + b"observer".ljust(46, b"\0")
)


class Questions:
    """A packet socket that receives nothing and sends our frame."""

    def __init__(self) -> None:
        # protocol 0: no packet of the host is ever copied to us
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setblocking(False)  # noqa: FBT003

    def ask(self, taps: Iterable[str]) -> str | None:
        """Send one frame on the first tap that takes it; its name, or None."""
        for tap in taps:
            try:
                self._socket.sendto(FRAME, (tap, ETHERTYPE))
            except OSError:  # gone, down, or its queue is full
                continue
            return tap
        return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
