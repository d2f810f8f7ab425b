# SPDX-License-Identifier: Apache-2.0
"""Runs an experiment: turn after turn on one scene, each fault to its end.

A run waits until the streams flow, breaks, waits until somebody has mended it (or
clears it away) and the streams flow again, and then asks everybody what they saw.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from observer.clock import SECOND
from observer.errors import DeadlineError, ObserverError, ProgramError
from observer.experiment.caretaker import READY_SECONDS, caretaker
from observer.experiment.comparator import READY
from observer.experiment.designs import DESIGNS, Design
from observer.experiment.faults import FAULTS, break_services, clear
from observer.experiment.guest_load import Seen
from observer.experiment.judge import Stream, Witness, row_of
from observer.guests.waiting import wait_until
from observer.model import Result
from observer.services.control import order
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from observer.demo.voice import Voice
    from observer.experiment.arrivals import Arrival
    from observer.experiment.faults import Fault
    from observer.experiment.plan import Turn
    from observer.experiment.rows import Row
    from observer.experiment.scene import Scene

__all__ = ["Study"]

MENDED_SECONDS = 60.0
FLOWS_SECONDS = 120.0
PERIODS = 50
"""So many arrivals make a flow; before a fault there are twice as many."""
DRAIN_SECONDS = 1.5
BLOCKS_SECONDS, BLOCKS = 0.5, 5
TCP_SECONDS = 5.0  # and twice the outage: TCP waits twice as long each time
BROKEN_SECONDS = 60.0
MENDED = (Result.REPAIRED, Result.RECOVERED)
STATS_SECONDS = 5.0


def _until(moment: float) -> None:
    """Sleep to a moment of time.monotonic()."""
    time.sleep(max(0.0, moment - time.monotonic()))


@dataclass(frozen=True)
class Before:
    """How things stood when a run began."""

    arrivals: int
    newest: int
    """Datagram of the guest's."""
    connections: int
    wrong: int
    writers: int


class Study:
    """One experiment on its scene."""

    def __init__(
        self,
        experiment: str,
        scene: Scene,
        seed: int,
        tell: Callable[[str], None],
    ) -> None:
        self._experiment, self._scene, self._tell = experiment, scene, tell
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._stands: bool | None = False
        """Whether the services are up with their spares; None: they are not up."""
        self._is_used = False
        self._told = -1
        """The newest datagram of the host's that the guest has told us of."""

    def rows(self, turns: Sequence[Turn]) -> Iterator[Row]:
        """All runs, in their order; a turn that cannot go on is told and left."""
        for turn in turns:
            design = DESIGNS[turn.design]
            self._tell(f"round {turn.round + 1}: {turn.design}: {design.does}")
            try:
                yield from self._turn(turn, design)
            except ObserverError as e:
                self._tell(f"round {turn.round + 1}: {turn.design} ended: {e.message}")
                self._is_used = True

    def _turn(self, turn: Turn, design: Design) -> Iterator[Row]:
        self._stand(design)
        folder = self._scene.folder / f"{turn.round}-{turn.design}"
        with caretaker(design, self._scene.services, folder) as voice:
            for count, name in enumerate(turn.faults):
                self._stand(design)
                if design.readies:
                    self._wait_until_ready(voice, count)
                if design.spare:
                    self._wait_for_spares()
                yield self._run(turn, FAULTS[self._experiment][name], voice)

    def _wait_until_ready(self, voice: Voice, faced: int) -> None:
        wait_until(
            lambda: voice.notes().count(READY) > faced, READY_SECONDS, "it was ready"
        )

    def _wait_for_spares(self) -> None:
        folders = [ServiceFolder(RUNTIME / name) for name in self._scene.services]

        def are_there() -> bool:
            records = map(read_record, folders)
            return all(r is not None and r.spare is not None for r in records)

        wait_until(are_there, READY_SECONDS, "there were spares")

    def _stand(self, design: Design) -> None:
        """Have the services up that the design wants, none of them used up."""
        wanted = None if design.keeps else design.spare
        if self._stands == wanted and not self._is_used:
            return
        if self._stands is not None:
            self._scene.end()
        if wanted is not None:
            self._scene.start(spare=wanted)
        self._stands, self._is_used = wanted, False

    # -- the streams --------------------------------------------------------------

    def _has_net(self, fault: Fault) -> bool:
        return "net" in self._scene.services and "net" in fault.services

    def _wait_for_flow(self, count: int) -> None:
        """So many datagrams more have come from the guest."""
        taken = self._scene.datagrams.arrivals
        wanted = len(taken) + count
        wait_until(lambda: len(taken) >= wanted, FLOWS_SECONDS, "the streams flowed")

    def _wait_for_blocks(self, since_ns: int) -> list[Seen]:
        """The guest's writer has gone on; all that the guest told meanwhile."""
        told: list[Seen] = []

        def has_written() -> bool:
            told.append(self._scene.take_seen())
            return sum(a.ns > since_ns for a in told[-1].wrote) >= BLOCKS

        deadline = time.monotonic() + FLOWS_SECONDS
        while not has_written():
            if time.monotonic() > deadline:
                raise DeadlineError("The guest's disk is not back.")
            time.sleep(BLOCKS_SECONDS)
        return told

    def _tcp_survives(self, connections: int, outage_s: float) -> bool:
        """Whether the stream that was there goes on, with the right bytes."""
        stream = self._scene.stream
        before = stream.bytes_total
        with suppress(DeadlineError):
            wait_until(
                lambda: stream.bytes_total > before,
                TCP_SECONDS + 2 * outage_s,
                "the TCP stream went on",
            )
        return (
            stream.connections == connections
            and stream.bytes_total > before
            and stream.is_intact
        )

    # -- one run ------------------------------------------------------------------

    def _begin(self, design: Design) -> None:
        """Everything flows, and is counted from here."""
        self._wait_for_flow(PERIODS)
        seen = self._scene.take_seen(anew=True)
        self._told = max((a.number for a in seen.took), default=self._told)
        self._wait_for_flow(2 * PERIODS)
        _until(time.monotonic() + self._chance.uniform(0, design.phase_s))

    def _break(self, fault: Fault) -> int:
        """Break it; one that is just being restarted can be broken a little later."""
        deadline = time.monotonic() + BROKEN_SECONDS
        while True:
            try:
                return break_services(fault, self._scene.trace)
            except (ProgramError, OSError) as e:
                if time.monotonic() > deadline:
                    raise ProgramError(f"{fault.name} cannot be begun: {e}") from e
                self._wait_for_flow(2 * PERIODS)

    def _mended(
        self, design: Design, fault: Fault, voice: Voice, moment_ns: int
    ) -> bool:
        """Wait until somebody says that all is mended; whether he did."""
        if design.left_s is not None:
            _until(moment_ns / SECOND + design.left_s)
            clear(fault)
        wanted = set(fault.services)

        def is_mended() -> bool:
            ends = (o for o in voice.outcomes() if o.result in MENDED)
            # what was begun before the fault mended nothing
            return wanted <= {
                o.vm for o in ends if o.monotonic_ns - o.took_ns >= moment_ns
            }

        with suppress(DeadlineError):
            wait_until(is_mended, MENDED_SECONDS, "it was mended")
            return True
        return False

    def _before(self) -> Before:
        scene = self._scene
        writers = scene.writers.succession if scene.writers else None
        return Before(
            arrivals=len(scene.datagrams.arrivals),
            newest=max(a.number for a in scene.datagrams.arrivals[-2 * PERIODS :]),
            connections=scene.stream.connections,
            wrong=writers.wrong if writers else 0,
            writers=len(writers.writers) if writers else 0,
        )

    def _run(self, turn: Turn, fault: Fault, voice: Voice) -> Row:
        design = DESIGNS[turn.design]
        since_ns = time.monotonic_ns()
        self._begin(design)
        before = self._before()
        self._tell(f"round {turn.round + 1}: {turn.design}: {fault.name}")
        moment_ns = self._break(fault)
        mended = self._mended(design, fault, voice, moment_ns)
        mended_ns = time.monotonic_ns()
        salvaged = self._salvaged(fault) if mended and design.policy else None
        if not mended and not design.keeps:
            self._scene.end()
            self._scene.start(spare=design.spare)
            mended_ns = time.monotonic_ns()
        seen = Witness(
            round=turn.round,
            moment_ns=moment_ns,
            mended_ns=mended_ns,
            verdicts=voice.since(moment_ns),
            outcomes=[
                o for o in voice.outcomes() if o.monotonic_ns - o.took_ns >= moment_ns
            ],
            salvaged=salvaged,
            notes=tuple(
                f"before: {v.kind} {v.subject}: {v.evidence}"
                for v in voice.since(since_ns)
                if v.monotonic_ns < moment_ns
            ),
        )
        seen = self._aftermath(before, fault, seen)
        coarse = design.policy is None
        return row_of(self._experiment, turn.design, fault, seen, coarse=coarse)

    def _aftermath(self, before: Before, fault: Fault, seen: Witness) -> Witness:
        """Wait until all flows, and ask everybody what he saw."""
        scene, told = self._scene, list[Seen]()
        flows, notes = True, seen.notes
        try:
            self._wait_for_flow(PERIODS)
            if scene.writers is not None:
                told = self._wait_for_blocks(time.monotonic_ns())
        except (DeadlineError, ProgramError) as e:
            flows, notes = False, (*notes, e.message)
        outage_s = (time.monotonic_ns() - seen.moment_ns) / SECOND
        tcp = None
        if self._has_net(fault):
            tcp = flows and self._tcp_survives(before.connections, outage_s)
        _until(time.monotonic() + DRAIN_SECONDS)
        with suppress(DeadlineError, ProgramError):
            told.append(scene.take_seen())
        # from the one before, for the outage may begin with it
        arrivals = scene.datagrams.arrivals[before.arrivals - 1 :]
        streams = self._streams(arrivals, before.newest, told)
        seen = msgspec.structs.replace(
            seen,
            datagrams=streams if self._has_net(fault) else (),
            blocks=self._blocks(fault, told),
            flows=flows,
            tcp_survived=tcp,
            notes=notes,
        )
        return self._with_disk(before, seen, told)

    def _with_disk(self, before: Before, seen: Witness, told: list[Seen]) -> Witness:
        """What came of the disk, where it is part of the experiment."""
        writers = self._scene.writers
        if writers is None:
            return seen
        new = len(writers.succession.writers) - before.writers
        error = self._scene.verify_error()
        wrong = sum(t.wrong_blocks for t in told) + (error is not None)
        return msgspec.structs.replace(
            seen,
            io_errors=sum(t.io_errors for t in told),
            verify_errors=wrong,
            two_writers=writers.succession.wrong - before.wrong,
            notes=(
                *seen.notes,
                f"the disk had {new} new writers",
                *((error,) if error else ()),
            ),
        )

    def _streams(
        self, arrivals: list[Arrival], newest: int, told: list[Seen]
    ) -> tuple[Stream, ...]:
        """Guest to host, and host to guest."""
        took = [a for t in told for a in t.took]
        out = Stream(
            arrivals, newest + 1, max((a.number for a in arrivals), default=newest)
        )
        first, self._told = (
            self._told + 1,
            max((a.number for a in took), default=self._told),
        )
        return out, Stream(took, first, self._told)

    def _blocks(self, fault: Fault, told: list[Seen]) -> list[Arrival]:
        if "disk" not in fault.services:
            return []
        return [a for t in told for a in t.wrote]

    def _salvaged(self, fault: Fault) -> int | None:
        """Frames that net's present life found in hand when it began."""
        if not self._has_net(fault):
            return None
        control = ServiceFolder(RUNTIME / "net").vm.control
        with suppress(ProgramError, DeadlineError):
            lines = asyncio.run(order(control, "stats", STATS_SECONDS))
            if found := re.search(r"salvaged=(\d+)", " ".join(lines)):
                return int(found[1])
        return None
