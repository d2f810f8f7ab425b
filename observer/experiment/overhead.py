# SPDX-License-Identifier: Apache-2.0
"""What an observer costs a guest that works: `overhead`.

All designs watch the same guest in turn, in one boot of the host, every second turn
backwards (A B B A): what one boot differs from the next by is far more than what an
observer costs, and what drifts within one hits all designs alike.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from observer.bench.compare import interleaved
from observer.bench.quiet import wait_until_settled
from observer.clock import MS
from observer.errors import ObserverError
from observer.experiment.cost import cpu_ns_of, kvm_counter
from observer.experiment.ear import WATCHED_SECONDS, design_heard
from observer.experiment.observers import DETECTION
from observer.experiment.spread import Answer, Spread
from observer.experiment.workloads.workload import workload_guest
from observer.guests.guest import free_subnet
from observer.guests.launch import GuestSpec
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from observer.demo.voice import Voice
    from observer.experiment.workloads.workload import Workload
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage

__all__ = ["Bench", "Window", "overhead_rows", "overhead_windows", "workload_row"]

RUN = Path("/run")  # what lies there is quick to read and gone after a boot
WARM_UP_SECONDS = 2.0
NO_SPREAD = Spread(None, None, None, None)


class Window(msgspec.Struct, frozen=True):
    """How well a guest worked beside one design, for one window."""

    design: str
    workload: str
    turn: int
    unit: str
    throughput: float | None
    spread: Spread | None
    observer_cpu_ms: float
    guest_exits: int
    seconds: float
    """In which exits and CPU time were counted; the throughput has its own clock."""
    verdicts: int
    """All of them false: nothing was broken."""
    answers: list[Answer] | None
    """Raw, where the workload tells each request."""


@dataclass(frozen=True)
class Bench:
    """What windows are measured with."""

    image: GuestImage
    build: Path
    seconds: float
    """Of a window, where the workload lasts a time."""
    tell: Callable[[str], None]
    settle_s: float = 6.0
    """So long at most a design may take to come to rest once it watches."""


def workload_row(window: Window) -> dict[str, Any]:
    """The window as a row of `workload.parquet`, and its design."""
    return {
        "design": window.design,
        "workload": window.workload,
        "turn": window.turn,
        "unit": window.unit,
        "throughput": window.throughput,
        **msgspec.structs.asdict(window.spread or NO_SPREAD),
        "observer_cpu_ms": window.observer_cpu_ms,
        "guest_exits": window.guest_exits,
        "wrong_verdicts": window.verdicts,
        "seconds": window.seconds,
    }


def _cpu_ns(design: Voice | None) -> int:
    return 0 if design is None else cpu_ns_of(design.pid)


@dataclass(frozen=True)
class _Stand:
    """One guest at its work, beside which the designs have their turns."""

    workload: Workload
    guest: Guest
    bench: Bench
    folder: Path

    def window(self, name: str, turn: int) -> Window:
        """Start a design, wait until it is at rest, and have the guest work."""
        with design_heard(DETECTION[name], self.folder / f"{turn}-{name}.log") as voice:
            if voice:
                watched = f"vm: {self.guest.name} "
                wait_until(
                    lambda: watched in voice.notes(), WATCHED_SECONDS, "it was watched"
                )
                wait_until_settled(voice.pid, self.bench.settle_s)
            return self._measured(name, turn, voice)

    def _measured(self, name: str, turn: int, design: Voice | None) -> Window:
        vmm = self.guest.pid
        cpu_ns, exits = _cpu_ns(design), kvm_counter(vmm, "exits")
        began = time.monotonic()
        sample = self.workload.run(self.guest, self.bench.seconds)
        seconds = time.monotonic() - began
        cpu_ns, exits = _cpu_ns(design) - cpu_ns, kvm_counter(vmm, "exits") - exits
        return Window(
            design=name,
            workload=self.workload.name,
            turn=turn,
            unit=sample.unit,
            throughput=sample.throughput,
            spread=sample.spread,
            observer_cpu_ms=round(cpu_ns / MS, 3),
            guest_exits=exits,
            seconds=round(seconds, 3),
            verdicts=len(design.since(0)) if design else 0,
            answers=sample.answers,
        )


def _windows_of(
    workload: Workload,
    designs: Sequence[str],
    turns: int,
    bench: Bench,
    folder: Path,
) -> Iterator[Window]:
    """All windows of one guest; one that fails is told and left."""
    spec = GuestSpec(
        workload.name, subnet=free_subnet(), memory_mib=workload.memory_mib
    )
    bench.tell(f"{workload.name}: boots its guest")
    with workload_guest(workload, spec, bench.image, bench.build, folder) as guest:
        stand = _Stand(workload, guest, bench, folder)
        workload.run(guest, WARM_UP_SECONDS)
        for turn, name in interleaved(list(designs), turns):
            where = f"{workload.name}: turn {turn + 1} of {turns}: {name}"
            bench.tell(where)
            try:
                yield stand.window(name, turn)
            except ObserverError as e:
                bench.tell(f"{where} failed: {e.message}")


def overhead_windows(
    workloads: Sequence[Workload],
    designs: Sequence[str],
    turns: int,
    bench: Bench,
) -> Iterator[Window]:
    """All windows: of each workload every design in turn, beside one guest.

    A workload whose guest does not come up is told and left.
    """
    for workload in workloads:
        with tempfile.TemporaryDirectory(prefix="observer-overhead-", dir=RUN) as made:
            try:
                yield from _windows_of(workload, designs, turns, bench, Path(made))
            except ObserverError as e:
                bench.tell(f"{workload.name} failed: {e.message}")


def overhead_rows(
    workloads: Sequence[Workload],
    designs: Sequence[str],
    turns: int,
    bench: Bench,
) -> Iterator[dict[str, Any]]:
    """The same as rows of `workload.parquet`, each with its design."""
    yield from map(workload_row, overhead_windows(workloads, designs, turns, bench))
