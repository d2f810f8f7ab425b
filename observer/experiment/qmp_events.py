# SPDX-License-Identifier: Apache-2.0
"""Hears events of every guest's QEMU, for comparators that are told and do not ask."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from observer.experiment.comparator import say_armed, say_verdict
from observer.experiment.roster import LOOK_SECONDS, Roster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observer.guests.guest import Guest
    from observer.model import VerdictKind

__all__ = ["hear"]


async def _hear_one(guest: Guest, kinds: Mapping[str, VerdictKind]) -> None:
    """Say a verdict for each event of those names, until the monitor is gone."""
    from qemu.qmp import EventListener, QMPClient, QMPError

    client, listener = QMPClient("comparator"), EventListener(names=kinds)
    try:
        with client.listen(listener):
            await client.connect(str(guest.files.qmp))
            async for event in listener:
                name = str(event["event"])
                say_verdict(
                    guest.name,
                    kinds[name],
                    time.monotonic_ns(),
                    f"QEMU told {name}",
                    subject="guest",
                )
    except (QMPError, OSError):
        return  # the VMM is gone: nobody tells anything any more


async def _hear_all(kinds: Mapping[str, VerdictKind], began: float) -> None:
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    roster, heard = Roster(), dict[int, asyncio.Task[None]]()
    say_armed(time.monotonic() - began)
    while True:
        lives = roster.lives()
        for pid in heard.keys() - lives.keys():
            heard.pop(pid).cancel()
        for pid in lives.keys() - heard.keys():
            heard[pid] = asyncio.create_task(_hear_one(lives[pid], kinds))
        await asyncio.sleep(LOOK_SECONDS)


def hear(kinds: Mapping[str, VerdictKind]) -> None:
    """Say a verdict for each event of those names of any guest, until SIGTERM."""
    asyncio.run(_hear_all(kinds, time.monotonic()))
