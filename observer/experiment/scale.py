# SPDX-License-Identifier: Apache-2.0
"""What the daemon takes against the number of VMs, and against how many are late."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from observer.bench.daemons import daemon_pid
from observer.bench.quiet import wait_until_settled, watch_quietly
from observer.config import Policy
from observer.demo.voice import observer_running
from observer.errors import DeadlineError, ProgramError
from observer.experiment.tiny_vms import RINGS, TICK_MS, VCPUS, tiny_vms
from observer.guests.waiting import wait_until
from observer.kernel.cells import LIMITS, RING, VCPU, VM, map_cells
from observer.kernel.libbpf import Libbpf
from observer.kernel.pins import layout_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from observer.demo.voice import Voice
    from observer.experiment.tiny_vms import TinyVm, TinyVms

__all__ = ["VALIDITY", "Plan", "Watched", "scale_rows", "up_and_down", "watching"]

SEEN_SECONDS = 30.0
"""A batch of VMs is known by then, and the daemon at rest; it takes some 3 s."""
BATCH = 50
"""So many VMs come to a host at once."""
VALIDITY = "5s"
"""So long a sign of life is good.  Where CPUs are emulated an exit costs many times a
real one's: a thousand guests that halt every 400 ms, as the default has it, would leave
no CPU to anybody.
"""
LATE_SECONDS = 30.0


class Plan(msgspec.Struct, frozen=True):
    """What is measured: quiet VMs of each number, and at one number those late."""

    counts: tuple[int, ...] = (10, 30, 100, 300, 1000)
    late_shares: tuple[float, ...] = (0.01, 0.1)
    late_vms: int = 100
    turns: int = 2
    first_turn: int = 0
    seconds: float = 20.0
    tick_ms: int = TICK_MS
    validity: str = VALIDITY

    def shares(self, vms: int) -> tuple[float, ...]:
        """None is late, and at one number then those shares."""
        return (0.0, *self.late_shares) if vms == self.late_vms else (0.0,)


def up_and_down(
    counts: Sequence[int], turns: int, first: int = 0
) -> list[tuple[int, int]]:
    """Turn and number of VMs: up in an even turn, down in the next."""
    up = sorted(counts)
    return [
        (turn, count)
        for turn in range(first, first + turns)
        for count in (up if turn % 2 == 0 else reversed(up))
    ]


class Watched:
    """A daemon and the books that it keeps, read beside it."""

    def __init__(self, voice: Voice) -> None:
        self.voice, self.pid = voice, daemon_pid()
        books, libbpf = Path(Policy().paths.bpffs) / f"books-{layout_tag()}", Libbpf()
        found = {}
        for name, cell in (("vms", VM), ("vcpus", VCPU), ("rings", RING)):
            fd = libbpf.get_pinned(books / name)
            if fd is None:
                raise ProgramError(f"{books / name} is missing: the daemon is gone.")
            found[name] = map_cells(fd, cell, LIMITS[name])
        self._vms, self._vcpus, self._rings = found.values()
        if any(others := self.known()):
            raise ProgramError(
                f"{others} VMs, vCPUs and rings of others are watched: end them first, "
                "for their cost would be measured too."
            )

    def known(self) -> tuple[int, int, int]:
        """VMs, vCPUs and rings in the books."""
        words = self._vms["tgid"], self._vcpus["tid"], self._rings["kind"]
        vms, vcpus, rings = (int(np.count_nonzero(used)) for used in words)
        return vms, vcpus, rings

    def suspicions(self) -> int:
        """Those raised so far of vCPUs and rings."""
        return int(self._vcpus["suspicions"].sum() + self._rings["suspicions"].sum())

    def take_in(self, vms: TinyVms, count: int) -> None:
        """Start VMs until there are so many; each vCPU and ring has its cell then."""
        while missing := count - len(vms.all):
            for vm in vms.start(min(missing, BATCH)):
                vm.kick_every_ring()
            self._wait_until_known(len(vms.all))

    def _wait_until_known(self, vms: int) -> None:
        wanted = vms, vms * VCPUS, vms * RINGS
        try:
            wait_until(
                lambda: (
                    self.known() == wanted
                    and self.voice.notes().count(" is watched") >= vms
                ),
                SEEN_SECONDS,
                f"{wanted} VMs, vCPUs and rings were known",
            )
        except DeadlineError as e:
            said = self.voice.notes()[-300:]
            raise ProgramError(f"{e.message} Known were {self.known()}; {said}") from e

    def wait_until_at_rest(self) -> None:
        """Return once it has nothing to do."""
        wait_until_settled(self.pid, SEEN_SECONDS)


@contextmanager
def watching(folder: Path, validity: str = VALIDITY) -> Iterator[Watched]:
    """A fresh daemon, armed when the block begins."""
    policy = folder / "observer.toml"
    policy.write_text(f'[limits]\nvalidity = "{validity}"\n')
    with observer_running(folder / "observer.log", "--config", str(policy)) as voice:
        yield Watched(voice)


def scale_rows(plan: Plan, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Rows of `scale.parquet`, each number of VMs with a fresh daemon."""
    for turn, count in up_and_down(plan.counts, plan.turns, plan.first_turn):
        with (
            tempfile.TemporaryDirectory(prefix="observer-scale-") as made,
            tiny_vms(Path(made), plan.tick_ms) as vms,
            watching(Path(made), plan.validity) as daemon,
        ):
            began = time.monotonic()
            daemon.take_in(vms, count)
            known = time.monotonic()
            daemon.wait_until_at_rest()
            rest_s = time.monotonic() - known
            tell(f"{count} VMs: known in {known - began:.1f} s, rest {rest_s:.1f} s on")
            for share in plan.shares(count):
                with _late(vms.all[: round(share * count)], daemon.voice):
                    yield _measure(daemon, count, share, turn, plan.seconds)


@contextmanager
def _late(vms: Sequence[TinyVm], voice: Voice) -> Iterator[None]:
    """One ring of each is not served while the block does, and that has been said."""
    for vm in vms:
        vm.be_late()
    for vm in vms:
        name = vm.name
        if voice.wait(lambda v: v.vm == name, LATE_SECONDS) is None:  # noqa: B023
            raise ProgramError(f"{name} was late, and nothing was said of it.")
    yield
    for vm in vms:
        vm.serve()


def _measure(
    daemon: Watched, vms: int, share: float, turn: int, seconds: float
) -> dict[str, Any]:
    before = daemon.suspicions()
    cost = watch_quietly(daemon.pid, vms, daemon.voice.notes, seconds)
    return {
        "vms": vms,
        "late_share": share,
        "turn": turn,
        "seconds": cost.seconds,
        "wakeups": cost.wakeups,
        "cpu_ms": cost.cpu_ms,
        "rss_mib": cost.rss_mib,
        "suspicions": daemon.suspicions() - before,
    }
