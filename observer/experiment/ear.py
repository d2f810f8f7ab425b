# SPDX-License-Identifier: Apache-2.0
"""Hears a design while a run goes on; where nobody watches it hears nothing."""

from __future__ import annotations

import math
import random
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from observer.config import Policy
from observer.demo.voice import ARMED, START_SECONDS, heard, observer_running
from observer.errors import DeadlineError, ProgramError
from observer.experiment.cost import KERNEL, design_processes, measured
from observer.guests.waiting import wait_until
from observer.kernel.pins import unpin_all
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from observer.demo.voice import Voice
    from observer.experiment.cost import Cost
    from observer.experiment.observers import ObserverDesign
    from observer.model import Verdict

__all__ = ["SILENT_SECONDS", "WATCHED_SECONDS", "Ear", "design_heard"]

WATCHED_SECONDS = 60.0
SILENT_SECONDS = 6.0
SETTLE_SECONDS = 6.0
ALSO_SECONDS = 0.5
"""So long after a verdict: what is wrong of it is said by then."""
RECOVERY_SECONDS = 30.0
RECOVERED = "recovered:"


class Ear:
    """One design, by what it says, notes and takes."""

    def __init__(
        self,
        design: ObserverDesign,
        voice: Voice | None,
        seed: int,
        tell: Callable[[str], None],
    ) -> None:
        self.design, self.voice, self.tell = design, voice, tell
        self.chance = random.Random(seed)  # noqa: S311 - no secret: repeatable
        self._phase = random.Random(f"{seed} phase")  # noqa: S311 - likewise
        self._counts_from_ns: dict[str, float] = {}
        """For a VM that we ended: when its next life was watched, if it is."""

    def _counts(self, verdict: Verdict) -> bool:
        return verdict.monotonic_ns >= self._counts_from_ns.get(verdict.vm, 0)

    def ends(self, vm: str) -> None:
        """We kill it ourselves: that may be said, late as well, and counts for nothing.

        Until its next life is watched.
        """
        self._counts_from_ns[vm] = math.inf

    def since(self, ns: int) -> list[Verdict]:
        """The verdicts that it gave after a moment."""
        said = self.voice.since(ns) if self.voice else []
        return [verdict for verdict in said if self._counts(verdict)]

    def wait_for_phase(self) -> None:
        """Until a moment of chance in its period, at which a fault may come.

        What is done to a guest ends when the design has spoken: without this a fault
        would come at the same moment of its period each time.
        """
        time.sleep(self._phase.uniform(0, self.design.phase_s))

    def _check(self) -> None:
        if self.voice and not self.voice.alive():
            raise ProgramError(f"It ended: {self._last_words()}")

    def hear_out(self, seconds: float) -> None:
        """Let a time pass in which nothing should be said; ProgramError if it ended."""
        time.sleep(seconds)
        self._check()

    def listen_to_all(self, fault: str, since_ns: int) -> list[Verdict]:
        """What it says of a fault, for as long as anything can come."""
        if self.voice:
            self.voice.wait(
                lambda v: v.monotonic_ns >= since_ns and self._counts(v),
                self.design.patience_with_s(fault),
            )
        self._check()
        if self.since(since_ns):
            time.sleep(ALSO_SECONDS)
        return self.since(since_ns)

    def count(self, words: str) -> int:
        """How often its notes have these words."""
        return self.voice.notes().count(words) if self.voice else 0

    def wait_until_watched(self, vm: str, before: int) -> None:
        """Until it has noted one more life of a VM than before."""
        if self.voice is None:
            return
        try:
            wait_until(
                lambda: self.count(f"vm: {vm} ") > before,
                WATCHED_SECONDS,
                f"{vm} was watched",
            )
        except DeadlineError as e:
            raise ProgramError(f"{e.message} It said: {self._last_words()}") from e
        if vm in self._counts_from_ns:
            self._counts_from_ns[vm] = time.monotonic_ns()

    def _last_words(self) -> str:
        return self.voice.notes().strip()[-300:] if self.voice else ""

    def wait_for_recovery(self, before: int) -> None:
        """Until it has seen one more end of a failure; the next one can then be told.

        The next case will show whether it matters that it has not.
        """
        with suppress(DeadlineError):
            wait_until(
                lambda: self.count(RECOVERED) > before,
                RECOVERY_SECONDS,
                "the recovery was seen",
            )

    @property
    def recoveries(self) -> int:
        """How many ends of failures it has seen."""
        return self.count(RECOVERED)

    def costs(
        self,
        phase: str,
        seconds: float,
        who: Mapping[int, tuple[str, str]],
        bpf_ns: Callable[[], int],
    ) -> list[Cost]:
        """Let a phase pass; what it took, and those that it watches.

        All are given the same time to come to rest before, and guests beside nobody.
        Ours have programs in the kernel, which are timed once more, for that costs.
        """
        time.sleep(SETTLE_SECONDS)
        self.tell(f"{phase}: {seconds:g} s")
        own = design_processes(self.voice.pid if self.voice else None)
        all_of_them = {**own, **who}
        found = measured(phase, all_of_them, seconds)
        if self.design.daemon is not None:
            timed = measured(phase, all_of_them, seconds / 2, bpf_ns)
            found += [cost for cost in timed if cost.role == KERNEL]
        return found


def _forget_books() -> None:
    root = Path(Policy().paths.bpffs)
    for its in (root, root.with_name(f"{root.name}-scanning")):
        unpin_all(its)


@contextmanager
def design_heard(design: ObserverDesign, notes: Path) -> Iterator[Voice | None]:
    """Run a design while the block does, and hear it; None: nobody watches."""
    if design.daemon is not None:
        try:
            with observer_running(notes, *design.daemon) as voice:
                yield voice
        finally:
            _forget_books()  # one that was killed leaves them to the next
    elif design.program:
        file, *its = design.program
        argv = (sys.executable, str(checkout() / "experiments" / file), *its)
        with heard(argv, notes, ARMED, START_SECONDS) as voice:
            yield voice
    else:
        yield None
