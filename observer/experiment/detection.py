# SPDX-License-Identifier: Apache-2.0
"""One run: a design beside live guests, taken through every case.

The design is one process from beginning to end, so that a verdict on a case that is
over, or a fault that it does not forget, would show.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.errors import ObserverError
from observer.experiment.cases import GUESTS, begin, lives_of
from observer.experiment.cost import guest_processes
from observer.experiment.ear import SILENT_SECONDS
from observer.experiment.latency import LatencyProbe
from observer.experiment.observer_faults import (
    CRASH,
    STOP,
    broken_in_guests,
    broken_on_host,
)
from observer.experiment.spread import CALM
from observer.guests.launch import GuestSpec
from observer.guests.linux import starting_guest, wait_for_guest
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from observer.demo.cases import FaultCase
    from observer.experiment.cost import Cost
    from observer.experiment.ear import Ear
    from observer.experiment.spread import PhasedAnswer
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage
    from observer.model import Verdict

__all__ = ["VCPUS", "Case", "Course", "Detection", "judged", "silent_case"]

SUBNETS = {"web1": 41, "db1": 42}
VCPUS = {name: vcpus for vcpus, name in GUESTS.items()}
STOPPED_SECONDS = 3.0
AFTER = "after"
"""The phase of requests that were due once a fault was undone."""


class Case(msgspec.Struct, frozen=True):
    """What came of one case; a row of the run's table."""

    case: str
    silent: bool
    vm: str
    effect_ns: int
    verdict_ns: int | None
    detection_ms: float | None
    detected: bool
    kind: str | None
    subject: str | None
    evidence: str
    wrong_verdicts: int
    waited_ms: float
    unharmed: bool | None = None


class Course(msgspec.Struct, frozen=True):
    """What a run is taken through, and how long it looks on."""

    faults: tuple[str, ...]
    silent: tuple[str, ...]
    observer_faults: bool = True
    calm_s: float = 20.0


def judged(  # noqa: PLR0913 - what is known of it
    case: FaultCase,
    vm: str,
    effect_ns: int,
    said: Sequence[Verdict],
    *,
    is_ours: bool,
    waited_ms: float,
    later: Sequence[Verdict] = (),
) -> Case:
    """A fault's row, by the first verdict since its effect.

    Of ours it must be the right one of its kind and subject; a comparator need only
    name the VM, for most have no words for what it was.  What was said `later`, after
    the fault was undone, detects nothing more, but may be wrong.
    """
    subject = case.subject.format(vm=vm)

    def is_right(verdict: Verdict) -> bool:
        if verdict.vm != vm:
            return False
        named = verdict.kind == case.kind and fnmatch(verdict.subject, subject)
        return named or not is_ours

    first = next((v for v in said if is_right(v)), None)
    told = first or next(iter(said), None)
    return Case(
        case=case.fault,
        silent=False,
        vm=vm,
        effect_ns=effect_ns,
        verdict_ns=first.monotonic_ns if first else None,
        detection_ms=(first.monotonic_ns - effect_ns) / MS if first else None,
        detected=first is not None,
        kind=told.kind if told else None,
        subject=told.subject if told else None,
        evidence=told.evidence if told else "nothing was said",
        wrong_verdicts=sum(not is_right(v) for v in (*said, *later)),
        waited_ms=waited_ms,
    )


def silent_case(
    name: str, vm: str, began_ns: int, said: Sequence[Verdict], waited_ms: float
) -> Case:
    """A silent case's row: any verdict at all is wrong."""
    first = next(iter(said), None)
    return Case(
        case=name,
        silent=True,
        vm=vm,
        effect_ns=began_ns,
        verdict_ns=first.monotonic_ns if first else None,
        detection_ms=None,
        detected=False,
        kind=first.kind if first else None,
        subject=first.subject if first else None,
        evidence=first.evidence if first else "",
        wrong_verdicts=len(said),
        waited_ms=waited_ms,
    )


class Detection:
    """A design's run through its course, beside Linux guests."""

    def __init__(self, ear: Ear, image: GuestImage, folder: Path, build: Path) -> None:
        self._ear, self._image = ear, image
        self._folder, self._build = folder, build
        self._guests: dict[str, tuple[Guest, ExitStack]] = {}
        self.costs: list[Cost] = []
        self.requests: list[PhasedAnswer] = []

    # -- the guests ---------------------------------------------------------------

    def _boot(self, name: str) -> Case:
        """The next life of a guest; nothing may be said of that."""
        began_ns, design = time.monotonic_ns(), self._ear.design
        self._ear.tell(f"{name}: boots")
        stack = ExitStack()
        spec = GuestSpec(
            name,
            subnet=SUBNETS[name],
            vcpus=VCPUS[name],
            devices=design.devices,
            words=design.words,
            shared_memory=design.shared_memory,
        )
        told = self._ear.count(f"vm: {name} ")
        guest = stack.enter_context(starting_guest(spec, self._image))
        self._guests[name] = guest, stack
        self._ear.wait_until_watched(name, told)
        wait_for_guest(guest)
        return self._silently("boot", name, began_ns)

    def _silently(self, case: str, vm: str, began_ns: int) -> Case:
        waited_ms = (time.monotonic_ns() - began_ns) / MS
        return silent_case(case, vm, began_ns, self._ear.since(began_ns), waited_ms)

    def _end(self, name: str) -> None:
        if name in self._guests:
            _, stack = self._guests.pop(name)
            self._ear.ends(name)
            stack.close()

    def close(self) -> None:
        """End all guests."""
        for name in tuple(self._guests):
            self._end(name)

    # -- the cases ----------------------------------------------------------------

    def _silent(self, name: str) -> Case:
        guest, _ = self._guests["web1"]
        self._ear.tell(f"web1: {name}")
        began_ns = time.monotonic_ns()
        with inject(name, guest, GUEST_FAULTS):
            self._ear.hear_out(SILENT_SECONDS)
        self._ear.hear_out(1.0)  # also the way back must be silent
        return self._silently(name, guest.name, began_ns)

    def _fault(self, case: FaultCase) -> Case:
        guest, _ = self._guests[case.guest]
        self._ear.tell(f"{case.guest}: {case.fault}")
        self._ear.wait_for_phase()
        recovered = self._ear.recoveries
        with ExitStack() as stack:
            effect_ns = begin(case, guest, stack)
            said = self._ear.listen_to_all(case.fault, effect_ns)
            waited_ms = (time.monotonic_ns() - effect_ns) / MS
        if said and GUEST_FAULTS[case.fault].passing:
            self._ear.wait_for_recovery(recovered)
        return judged(
            case,
            guest.name,
            effect_ns,
            said,
            is_ours=self._ear.design.daemon is not None,
            waited_ms=waited_ms,
            later=self._ear.since(effect_ns)[len(said) :],
        )

    def _look_on(self, phase: str, seconds: float, bpf_ns: Callable[[], int]) -> Case:
        """Let a phase pass, and keep what everybody took; nothing may be said of it."""
        began_ns = time.monotonic_ns()
        who = guest_processes(self._live_guests())
        self.costs += self._ear.costs(phase, seconds, who, bpf_ns)
        return self._silently(phase, "web1", began_ns)

    @contextmanager
    def _asked(self, name: str) -> Iterator[LatencyProbe]:
        """Somebody asks a guest all the time; what came of it is kept."""
        guest, _ = self._guests[name]
        with LatencyProbe(guest, self._folder, self._build) as probe:
            yield probe
        self.requests += probe.answers

    def _asked_calmly(self, seconds: float) -> Case:
        began_ns = time.monotonic_ns()
        self._ear.tell(f"web1: is asked for {seconds:g} s")
        with self._asked("web1") as probe:
            probe.mark(CALM)
            time.sleep(seconds)
        return self._silently("asked", "web1", began_ns)

    def _life(self, life: Sequence[FaultCase]) -> Iterator[Case]:
        """All that a guest is put through; it is asked while that can be undone."""
        passing = [case for case in life if GUEST_FAULTS[case.fault].passing]
        if passing:
            with self._asked(passing[0].guest) as probe:
                for case in passing:
                    probe.mark(case.fault)
                    yield self._fault(case)
                    probe.mark(AFTER)
        for case in life[len(passing) :]:
            yield self._fault(case)

    def _all_go_on(self) -> bool:
        """Whether each guest still obeys."""
        try:
            for guest in self._live_guests():
                guest.order("ping")
        except ObserverError:
            return False
        return True

    def _observer_fault(self, name: str) -> Case:
        """The design itself is stopped for a while, or killed: nobody may notice."""
        voice, design = self._ear.voice, self._ear.design
        assert voice is not None  # noqa: S101 - who calls has looked
        self._ear.tell(name)
        began_ns, guests = time.monotonic_ns(), self._live_guests()
        if design.inside is None:
            breaking = broken_on_host(name, voice)
        else:
            breaking = broken_in_guests(name, design.inside, guests)
        with breaking:
            time.sleep(STOPPED_SECONDS)
            unharmed = self._all_go_on()
        if voice.alive():
            self._ear.hear_out(SILENT_SECONDS if name == STOP else design.patience_s)
        row = self._silently(name, "web1", began_ns)
        acted = design.acts and row.wrong_verdicts
        return msgspec.structs.replace(row, unharmed=unharmed and not acted)

    def _live_guests(self) -> list[Guest]:
        return [guest for guest, _ in self._guests.values()]

    def rows(self, course: Course, bpf_ns: Callable[[], int]) -> Iterator[Case]:
        """Every case, in an order of chance; guests boot as they are needed."""
        is_watched = self._ear.voice is not None
        yield self._boot("web1")
        yield self._boot("db1")
        yield self._look_on("idle", course.calm_s, bpf_ns)
        guest, _ = self._guests["web1"]
        guest.order("busy net")
        yield self._look_on("load", course.calm_s, bpf_ns)
        guest.order("idle")
        yield self._asked_calmly(course.calm_s / 2)
        silent = list(course.silent)
        self._ear.chance.shuffle(silent)
        for name in silent:
            yield self._silent(name)
        if is_watched and course.observer_faults:
            yield self._observer_fault(STOP)
            if self._ear.design.inside:  # what was stopped may be of no use any more
                for name in tuple(self._guests):
                    self._end(name)
                    yield self._boot(name)
        for life in lives_of(course.faults, self._ear.chance) if is_watched else ():
            name = life[0].guest
            if name not in self._guests:
                yield self._boot(name)
            yield from self._life(life)
            if life[-1].fatal:
                self._end(name)
        if is_watched and course.observer_faults:
            if not self._guests:
                yield self._boot("web1")
            yield self._observer_fault(CRASH)
