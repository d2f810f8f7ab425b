# SPDX-License-Identifier: Apache-2.0
"""Builds the program that loads a guest, and reads what it saw there."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from enum import IntEnum
from importlib.resources import files
from pathlib import Path

import msgspec

from observer.errors import DeadlineError, HostError, ProgramError
from observer.experiment.arrivals import Arrival
from observer.experiment.streams import in_namespace

__all__ = ["Seen", "build_load", "parse_seen", "take_seen"]

SOURCE = Path(str(files("observer.experiment"))) / "load/load.c"
COMPILE = ("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
BUILD_SECONDS = 120.0
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
    made = folder / "load"
    if made.exists() and made.stat().st_mtime > SOURCE.stat().st_mtime:
        return made
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [*COMPILE, str(SOURCE), "-o", str(made)],
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
    except FileNotFoundError as e:
        raise HostError("gcc is missing: apt install gcc libc6-dev.") from e
    except subprocess.CalledProcessError as e:
        raise ProgramError(
            f"gcc could not build the guest's load: {e.stderr.strip()[-300:]}"
        ) from e
    return made


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
