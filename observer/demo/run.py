# SPDX-License-Identifier: Apache-2.0
"""Run the cases one after another on live guests beside a live observer.

A guest boots when its first case comes and lives until a case is fatal to it.  The
observer is one process from beginning to end, so that a verdict about a case that is
over, or a fault that is not forgotten, would show.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from observer.demo.cases import FAULTS, SILENT, FaultCase, SilentCase, guests_of
from observer.demo.judge import fault_row, silent_row
from observer.errors import DeadlineError, ProgramError
from observer.guests.guest import free_subnet
from observer.guests.launch import GuestSpec
from observer.guests.linux import starting_guest, wait_for_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.demo.report import Row
    from observer.demo.voice import Voice
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage

__all__ = ["Stage", "demo_rows", "soak_rows"]

VERDICT_SECONDS = 10.0
ALL_VERDICTS_SECONDS = 1.0
WATCHED_SECONDS = 30.0
RECOVERY_SECONDS = 30.0


class Stage:
    """The guests and the observer that cases are played on."""

    def __init__(self, voice: Voice, image: GuestImage, design: str) -> None:
        self._voice, self._image, self._design = voice, image, design
        self._guests: dict[str, tuple[Guest, ExitStack]] = {}

    def guest(self, name: str) -> Guest:
        """Give a guest that was booted here."""
        return self._guests[name][0]

    def boot(self, name: str, vcpus: int) -> Row:
        """Boot a guest; that is a silent case of its own."""
        began_ns = time.monotonic_ns()
        stack = ExitStack()
        spec = GuestSpec(name, subnet=free_subnet(), vcpus=vcpus)
        guest = stack.enter_context(starting_guest(spec, self._image))
        self._guests[name] = guest, stack
        wait_for_guest(guest)
        self._wait_until_watched(name)
        said = self._voice.since(began_ns)
        return silent_row(SilentCase("boot", name), name, said, self._design)

    def _wait_until_watched(self, name: str) -> None:
        wait_until(
            lambda: f"vm: {name} " in self._voice.notes(),
            WATCHED_SECONDS,
            f"{name} was watched",
        )

    def _require_voice(self) -> None:
        if not self._voice.alive():
            raise ProgramError(f"The observer ended: {self._voice.notes().strip()}")

    def silent(self, case: SilentCase) -> Row:
        """Let something harmless happen for a while."""
        guest = self.guest(case.guest)
        began_ns = time.monotonic_ns()
        with inject(case.name, guest, GUEST_FAULTS):
            wrong = self._voice.wait(lambda v: v.monotonic_ns >= began_ns, case.seconds)
        if wrong is None:  # also the way back must be silent
            self._voice.wait(lambda v: v.monotonic_ns >= began_ns, 1.0)
        self._require_voice()
        return silent_row(case, guest.name, self._voice.since(began_ns), self._design)

    def fault(self, case: FaultCase) -> Row:
        """Break something, wait for the verdict, and mend it if that can be."""
        guest, stack = self._guests[case.guest]
        told = self._voice.notes().count("recovered:")
        began_ns = time.monotonic_ns()
        with inject(case.fault, guest, GUEST_FAULTS) as injection:
            self._voice.wait(lambda v: v.monotonic_ns >= began_ns, VERDICT_SECONDS)
        self._require_voice()
        said = self._voice.since(began_ns)
        row = fault_row(case, guest.name, injection.effect_ns, said, self._design)
        if case.fatal:
            stack.close()
            del self._guests[case.guest]
        elif injection.passing and said:
            self._wait_for_recovery(told)
        return row

    def _wait_for_recovery(self, told: int) -> None:
        """The next case begins when the observer has seen the end of this one."""
        try:
            wait_until(
                lambda: self._voice.notes().count("recovered:") > told,
                RECOVERY_SECONDS,
                "the observer saw the recovery",
            )
        except DeadlineError:
            return  # the next case will show whether that matters

    def close(self) -> None:
        """End all guests."""
        for _, stack in self._guests.values():
            stack.close()
        self._guests.clear()


def demo_rows(stage: Stage, tell: Callable[[str], None]) -> Iterator[Row]:
    """Play every case of the demo; `tell` says what happens before it does."""
    for name, vcpus in guests_of(FAULTS).items():
        tell(f"{name}: boots with {vcpus} vCPU{'s' if vcpus > 1 else ''}")
        boot = stage.boot(name, vcpus)
        if name == SILENT[0].guest or not boot.passed:
            yield boot
        for silent in SILENT[1:]:
            if silent.guest == name:
                tell(f"{name}: {silent.name}")
                yield stage.silent(silent)
        for case in FAULTS:
            if case.guest == name:
                tell(f"{name}: {case.fault}")
                yield stage.fault(case)


def soak_rows(
    stage: Stage, minutes: float, tell: Callable[[str], None]
) -> Iterator[Row]:
    """Play the silent cases in rotation until the time is over."""
    end = time.monotonic() + 60 * minutes
    tell("web1: boots with 2 vCPUs")
    yield stage.boot("web1", 2)
    turn = 0
    while time.monotonic() < end:
        case = SILENT[1:][turn % len(SILENT[1:])]
        left = end - time.monotonic()
        tell(f"web1: {case.name} ({left / 60:.1f} min left)")
        yield stage.silent(SilentCase(case.name, "web1", min(20.0, max(1.0, left))))
        turn += 1
