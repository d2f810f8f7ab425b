# SPDX-License-Identifier: Apache-2.0
"""Hears events of every guest's QEMU, for comparators that are told and do not ask.

A monitor that hangs up is one more event, as it is to libvirt: its VMM is gone.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from observer.experiment.comparator import say_armed, say_verdict
from observer.experiment.roster import LOOK_SECONDS, Roster
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observer.guests.guest import Guest

__all__ = ["event_in", "hear", "hear_one"]

SHUTDOWN = "SHUTDOWN"
"""QEMU ends because somebody wants it to: that its monitor ends is no crash then."""
HANDSHAKE = b'{"execute": "qmp_capabilities"}\n'


class _Line(msgspec.Struct, frozen=True):
    event: str = ""


def event_in(line: bytes) -> str:
    """The name of the event that a line of QMP tells; empty where it tells none."""
    try:
        return msgspec.json.decode(line, type=_Line).event
    except msgspec.DecodeError:
        return ""  # QEMU died amidst a line


async def _tell_events(
    reader: asyncio.StreamReader, vm: str, kinds: Mapping[str, VerdictKind]
) -> bool:
    """Say what a monitor tells until it ends; whether that end was wanted."""
    is_wanted = False
    with suppress(ConnectionError):  # an end as well
        async for line in reader:
            name = event_in(line)
            is_wanted |= name == SHUTDOWN
            if name in kinds:
                since_ns, evidence = time.monotonic_ns(), f"QEMU told {name}"
                say_verdict(vm, kinds[name], since_ns, evidence, subject="guest")
    return is_wanted


async def hear_one(guest: Guest, kinds: Mapping[str, VerdictKind]) -> None:
    """Say a verdict for each event of those names, and for a crash of its VMM.

    One that the study ends itself looks like a crash: the study does not count it.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(guest.files.qmp))
    except OSError:
        return  # it was gone before it was heard
    try:
        writer.write(HANDSHAKE)
        is_wanted = await _tell_events(reader, guest.name, kinds)
    finally:
        writer.close()
    if not is_wanted:
        kind, now_ns = VerdictKind.VMM_CRASHED, time.monotonic_ns()
        say_verdict(guest.name, kind, now_ns, "its monitor hung up")


async def _hear_all(kinds: Mapping[str, VerdictKind], began: float) -> None:
    roster, heard = Roster(), dict[int, asyncio.Task[None]]()
    say_armed(time.monotonic() - began)
    while True:
        lives = roster.lives()
        for pid in heard.keys() - lives.keys():
            heard.pop(pid).cancel()
        for pid in lives.keys() - heard.keys():
            heard[pid] = asyncio.create_task(hear_one(lives[pid], kinds))
        await asyncio.sleep(LOOK_SECONDS)


def hear(kinds: Mapping[str, VerdictKind]) -> None:
    """Say a verdict for each event of those names of any guest, until SIGTERM."""
    asyncio.run(_hear_all(kinds, time.monotonic()))
