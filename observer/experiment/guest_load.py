# SPDX-License-Identifier: Apache-2.0
"""Asks the program that loads a guest, `load/load.c`, what it saw there."""

from __future__ import annotations

import socket
import struct
import time
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from observer.errors import DeadlineError, ProgramError
from observer.experiment.arrivals import Arrival
from observer.experiment.built import built
from observer.experiment.streams import in_namespace

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Seen", "build_load", "parse_seen", "take_seen"]

ANSWER_SECONDS = 60.0
RECORDS_PORT = 4713  # load.c
HEAD = struct.Struct("=QQ")
RECORD = struct.Struct("=IIQ")


class Kind(IntEnum):
    """`enum kind` of load.c."""

    TOOK = 0
    WROTE = 1
    IO_ERROR = 2
    WRONG_BLOCK = 3
    BROKEN = 4


class Seen(msgspec.Struct, frozen=True):
    """What the guest saw since it was asked last, in the host's time."""

    took: list[Arrival]
    """Datagrams of the host's."""
    wrote: list[Arrival]
    """Blocks that were there when they were read back."""
    io_errors: int
    wrong_blocks: int
    broken_streams: int


def build_load(folder: Path) -> Path:
    """Build the program, unless it is there and newer than its source."""
    return built("load", folder)


def parse_seen(said: bytes, host_ns: int) -> Seen:
    """Records of load.c, which said its own time when the host's was `host_ns`."""
    guest_ns, count = HEAD.unpack_from(said)
    ahead_ns = guest_ns - host_ns
    found: dict[Kind, list[Arrival]] = {kind: [] for kind in Kind}
    for kind, number, ns in RECORD.iter_unpack(
        said[HEAD.size : HEAD.size + count * RECORD.size]
    ):
        found[Kind(kind)].append(Arrival(number, ns - ahead_ns))
    return Seen(
        found[Kind.TOOK],
        found[Kind.WROTE],
        len(found[Kind.IO_ERROR]),
        len(found[Kind.WRONG_BLOCK]),
        len(found[Kind.BROKEN]),
    )


def take_seen(namespace: str | None, guest: str, *, anew: bool = False) -> Seen:
    """Ask the guest; it forgets what it told, and begins its TCP stream anew if so.

    Its clock is off ours by what half of an answer takes, a few ms at most.
    """
    try:
        with in_namespace(namespace):
            wire = socket.create_connection((guest, RECORDS_PORT), ANSWER_SECONDS)
        with wire:
            before_ns = time.monotonic_ns()
            wire.sendall(b"n" if anew else b"k")
            said = bytearray(wire.recv(HEAD.size))
            host_ns = (before_ns + time.monotonic_ns()) // 2
            while more := wire.recv(1 << 16):
                said += more
    except TimeoutError:
        raise DeadlineError(
            f"The guest at {guest} did not tell in {ANSWER_SECONDS:g} s what it saw."
        ) from None
    except OSError as e:
        raise ProgramError(f"The guest at {guest} cannot be asked ({e}).") from e
    if len(said) < HEAD.size:
        raise ProgramError(f"The guest at {guest} broke off what it told.")
    return parse_seen(bytes(said), host_ns)
