# SPDX-License-Identifier: Apache-2.0
"""Moves a spare's queue to the tap of the service that it stands by for.

A tun device's descriptor is a queue, and outlives the interface that it was made for
(drivers/net/tun.c, `tun_detach_all`): QEMU and vhost of a spare have theirs at work
before there is anything to do for it, and nothing of what they tell their interface
while they start reaches the one in use.  The interface itself stays where it is.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

from pyroute2 import IPRoute, NetlinkError

from observer.errors import HostError
from observer.guests.tap import attach, open_tap, tap_index

__all__ = [
    "give_back",
    "let_queue_go",
    "lone_queue",
    "take_queue",
    "tap_header_bytes",
]

TUNSETQUEUE, TUNGETIFF = 0x400454D9, 0x800454D2
TUNSETVNETHDRSZ, TUNGETVNETHDRSZ = 0x400454D8, 0x800454D7
IFF_ATTACH_QUEUE, IFF_DETACH_QUEUE = 0x0200, 0x0400
REQUEST_BYTES, NAME_BYTES = 40, 16
HEADER_BYTES = struct.Struct("<i")


def tap_header_bytes(tap: int) -> int:
    """How long the header before each frame is, as QEMU agreed with the guest."""
    answer = bytearray(HEADER_BYTES.size)
    fcntl.ioctl(tap, TUNGETVNETHDRSZ, answer)
    return int(HEADER_BYTES.unpack(answer)[0])


def lone_queue() -> int:
    """A queue of an interface that nobody else uses."""
    try:
        return open_tap("obs-spare%d", many_queues=True)
    except OSError as e:
        raise HostError(
            f"No tap can be made for a spare ({e.strerror}): load the module tun, and "
            "use sudo."
        ) from e


def let_queue_go(tap: int) -> int:
    """Take away the interface of a lone queue; how long its header was."""
    header = tap_header_bytes(tap)
    answer = bytearray(REQUEST_BYTES)
    fcntl.ioctl(tap, TUNGETIFF, answer)
    name = answer[:NAME_BYTES].rstrip(b"\0").decode()
    try:
        with IPRoute() as ip:
            ip.link("del", index=tap_index(name))
    except NetlinkError as e:
        raise HostError(
            f"The tap {name} of a spare stays ({os.strerror(e.code)}): see "
            f"`ip link show {name}`."
        ) from e
    return header


def _set_queue(tap: int, flag: int) -> None:
    fcntl.ioctl(tap, TUNSETQUEUE, struct.pack("16sH22x", b"", flag))


def take_queue(name: str, old: int, new: int, header_bytes: int) -> None:
    """Let a queue without an interface serve this one instead of its old queue.

    What waits in the old one is lost.  At no time are there two queues, for the kernel
    empties what waits before an interface when one of two goes
    (`qdisc_reset_all_tx_gt`).
    """
    try:
        _set_queue(old, IFF_DETACH_QUEUE)
        attach(new, name, many_queues=True)
        fcntl.ioctl(new, TUNSETVNETHDRSZ, HEADER_BYTES.pack(header_bytes))
    except OSError as e:
        raise HostError(
            f"The spare's queue cannot serve {name} ({e.strerror}): start the service "
            "again (observer service restart)."
        ) from e


def give_back(tap: int) -> None:
    """Let a queue serve its interface again, if that was taken from it."""
    with suppress(OSError):
        _set_queue(tap, IFF_ATTACH_QUEUE)
