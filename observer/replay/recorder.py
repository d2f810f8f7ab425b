# SPDX-License-Identifier: Apache-2.0
"""Records the debts of a host beside the daemon that watches it."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from observer.clock import SECOND
from observer.errors import HostError
from observer.kernel.cells import LIMITS, RING, SERVICE, VCPU, VM, Pool, map_cells
from observer.kernel.event_ring import EventRing
from observer.kernel.libbpf import BpfObject
from observer.kernel.pins import layout_tag
from observer.replay.event import EVENT, EVENTS_BYTES, Debt
from observer.replay.recording import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from observer.kernel.cells import Cells
    from observer.kernel.libbpf import Libbpf
    from observer.replay.event import Events
    from observer.replay.recording import RecordingWriter

__all__ = ["Recorder", "record", "recorder"]

PAUSE_SECONDS, LOOK_SECONDS = 0.05, 1.0
U64 = np.dtype("u8")


class Recorder:
    """The programs while they are attached, and the books that they read."""

    def __init__(self, libbpf: Libbpf, built: BpfObject) -> None:
        self._libbpf = libbpf
        fd = built.map_fd
        self._ring = EventRing(fd("events"), EVENTS_BYTES, EVENT)
        self._lost: Cells = map_cells(fd("lost"), U64, 1)
        self._used: Cells = map_cells(fd("next_slots"), U64, len(Pool))
        self._vms: Cells = map_cells(fd("vms"), VM, LIMITS["vms"])
        self._vcpus: Cells = map_cells(fd("vcpus"), VCPU, LIMITS["vcpus"])
        self._rings: Cells = map_cells(fd("rings"), RING, LIMITS["rings"])
        self._services: Cells = map_cells(fd("services"), SERVICE, LIMITS["services"])
        self._look = built.program_fd("look_at_debtors")

    @property
    def lost(self) -> int:
        """Events for which there was no room."""
        return int(self._lost[0])

    def _debtors(self) -> Iterator[tuple[Debt, int]]:
        vms, vcpus, rings = (int(self._used[pool]) for pool in Pool)
        slots = {
            Debt.VCPU: self._vcpus["tid"][:vcpus],
            Debt.BACKEND: self._rings["kind"][:rings],
            Debt.CALLED: self._vms["tgid"][:vms],
            Debt.SERVICE: self._services["tid"][:vms],
        }
        for debt, used in slots.items():
            for slot in np.flatnonzero(used):
                yield debt, int(slot)

    def look(self) -> None:
        """Tell how late each debtor is by now: who hangs makes no event."""
        for debt, slot in self._debtors():
            self._libbpf.run(self._look, np.array([debt, slot], "u8").tobytes())

    def take(self) -> Events:
        """What was told since the last time."""
        return self._ring.take()

    def vmms(self) -> dict[int, int]:
        """Process -> slot of its VM."""
        slots = np.flatnonzero(self._vms["tgid"])
        return {int(self._vms[slot]["tgid"]): int(slot) for slot in slots}

    def owners(self) -> dict[str, dict[int, int]]:
        """To which VM's slot a vCPU's and a ring's belong."""
        owners: dict[str, dict[int, int]] = {"vcpu": {}, "backend": {}}
        cells = {Debt.VCPU: self._vcpus, Debt.BACKEND: self._rings}
        for debt, slot in self._debtors():
            if debt in cells:
                owners[debt.name.lower()][slot] = int(cells[debt][slot]["vm"])
        return owners


@contextmanager
def recorder(libbpf: Libbpf, object_: Path, root: Path) -> Iterator[Recorder]:
    """Attach the programs while the block runs; a daemon must run beside."""
    books = root / f"books-{layout_tag()}"
    if not (books / "vcpus").exists() or not (books / "rings").exists():
        raise HostError(
            f"No observer of this version keeps books in {root}, and a recording reads "
            "them: start it (sudo observer run)."
        )
    built = BpfObject(libbpf, object_, books)
    links: list[int] = []
    try:
        built.load()
        recorder = Recorder(libbpf, built)
        links = built.attach(None)
        yield recorder
    finally:
        built.detach(links)
        built.close()


def record(  # noqa: PLR0913 - all that it touches is an argument
    recorder: Recorder,
    writer: RecordingWriter,
    is_over: Callable[[float], bool],
    names: Callable[[], dict[int, str]],
    limits_ns: dict[str, int],
    *,
    pause: Callable[[float], object] = time.sleep,
) -> Facts:
    """Write what is told until `is_over`, which is asked with the seconds so far."""
    began, told, vms = time.monotonic_ns(), datetime.now(UTC).isoformat(), names()
    looked = 0.0
    recorder.look()
    while True:
        seconds = (time.monotonic_ns() - began) / SECOND
        over = is_over(seconds)
        if over or seconds - looked >= LOOK_SECONDS:
            recorder.look()
            looked = seconds
        writer.append(recorder.take())
        if over:
            break
        pause(PAUSE_SECONDS)
    facts = Facts(
        kernel=os.uname().release,
        cpus=os.cpu_count() or 0,
        began=told,
        seconds=round(seconds, 3),
        lost=recorder.lost,
        limits_ns=limits_ns,
        vms=vms | names(),
        owners=recorder.owners(),
    )
    writer.describe(facts)
    return facts
