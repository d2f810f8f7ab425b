# SPDX-License-Identifier: Apache-2.0
"""What a process holds open of what a VM is made of: eventfds, taps, vhost devices.

Every ring has two eventfds, and /proc/PID/fdinfo gives each its `eventfd-id`.  Only
of those and of taps it is read: a VMM holds sixty descriptors and more.  Without
pathlib, which takes several times as long as the system calls.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from observer.inventory.procfs import read_proc

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Descriptors",
    "eventfd_count",
    "parse_eventfd",
    "read_descriptors",
]

GONE = (FileNotFoundError, ProcessLookupError)
EVENTFD, TUN, VHOST = "anon_inode:[eventfd]", "/dev/net/tun", "/dev/vhost-net"
_COUNT = re.compile(r"^eventfd-count:\s*([0-9a-f]+)", re.MULTILINE)
_ID = re.compile(r"^eventfd-id:\s*(\d+)", re.MULTILINE)
_TAP = re.compile(r"^iff:[ \t]*(\S+)", re.MULTILINE)


class Descriptors(msgspec.Struct, frozen=True):
    """Those of one process, at one moment."""

    eventfds: dict[int, int] = {}
    """Id -> descriptor."""
    taps: tuple[str, ...] = ()
    """Names of interfaces, each once."""
    vhost: tuple[int, ...] = ()
    """Descriptors of vhost-net devices."""


def parse_eventfd(text: str) -> tuple[int, int] | None:
    """Id and count not yet read, of `eventfd_show_fdinfo`; None for other files."""
    count, which = _COUNT.search(text), _ID.search(text)
    return (int(which[1]), int(count[1], 16)) if count and which else None


def read_descriptors(proc: Path, pid: int) -> Descriptors:
    """Read those of a process; what closes meanwhile is passed over."""
    fd_folder, eventfds, vhost = f"{proc}/{pid}/fd", dict[int, int](), list[int]()
    taps = dict[str, None]()  # a set that keeps their order
    try:
        numbers = sorted(map(int, os.listdir(fd_folder)))  # noqa: PTH208
    except (*GONE, PermissionError):
        return Descriptors()
    for number in numbers:
        try:
            target = os.readlink(f"{fd_folder}/{number}")  # noqa: PTH115
            if target == VHOST:
                vhost.append(number)
            if target not in (EVENTFD, TUN):
                continue
            text = read_proc(f"{proc}/{pid}/fdinfo/{number}")
        except GONE:
            continue
        if eventfd := parse_eventfd(text):
            eventfds[eventfd[0]] = number
        elif tap := _TAP.search(text):
            taps[tap[1]] = None
    return Descriptors(eventfds, tuple(taps), tuple(vhost))


def eventfd_count(proc: Path, pid: int, fd: int, eventfd_id: int) -> int | None:
    """Count of an eventfd; None if that descriptor is another one by now."""
    try:
        text = read_proc(f"{proc}/{pid}/fdinfo/{fd}")
    except (*GONE, PermissionError):
        return None
    eventfd = parse_eventfd(text)
    return eventfd[1] if eventfd and eventfd[0] == eventfd_id else None
