# SPDX-License-Identifier: Apache-2.0
"""A guest's network interface on the host, made so that an idle one is silent."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyroute2 import IPRoute

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["attach", "open_tap", "silence", "tap", "tap_index"]

TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x0100, 0x1000, 0x4000
PREFIX = 24


def open_tap(name: str, *, many_queues: bool = False) -> int:
    """Make the interface, or attach to it; it lasts as long as the descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        attach(device, name, many_queues=many_queues)
    except OSError:
        os.close(device)
        raise
    return device


def attach(device: int, name: str, *, many_queues: bool) -> None:
    """Make an open tun device a queue of the interface."""
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if many_queues else 0)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))


def _set_persistent(name: str, *, persistent: bool) -> None:
    """Make the interface outlive its descriptor, or let it go with this one."""
    device = open_tap(name)
    try:
        fcntl.ioctl(device, TUNSETPERSIST, int(persistent))
    finally:
        os.close(device)


def tap_index(name: str) -> int:
    """The index of an interface; HostError where somebody took it away."""
    try:
        return socket.if_nametoindex(name)
    except OSError as e:
        raise HostError(
            f"The tap {name} is gone ({e.strerror}): start anew what had it."
        ) from e


def silence(name: str) -> None:
    """Turn IPv6 off before the link is up: it would wake an idle guest."""
    switch = Path("/proc/sys/net/ipv6/conf") / name / "disable_ipv6"
    if switch.exists():
        switch.write_text("1")


@contextmanager
def tap(name: str, address: str) -> Iterator[None]:
    """Keep a tap interface with the address on the host's end while the block runs."""
    # One left behind by a keeper that was killed still has its address.
    _set_persistent(name, persistent=False)
    _set_persistent(name, persistent=True)
    try:
        silence(name)
        with IPRoute() as ip:
            index = tap_index(name)
            ip.addr("add", index=index, address=address, prefixlen=PREFIX)
            ip.link("set", index=index, state="up")
        yield
    finally:
        _set_persistent(name, persistent=False)
