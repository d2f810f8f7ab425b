# SPDX-License-Identifier: Apache-2.0
"""HyperTap's hang rule on a stock host: a vCPU without activity; see README.md."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.clock import SECOND
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_recovered,
    say_verdict,
)
from observer.experiment.exit_counter import OWN, ExitCounter, vcpu_threads
from observer.experiment.roster import Roster
from observer.inventory.task import look_at_task
from observer.model import VerdictKind

if TYPE_CHECKING:
    from observer.guests.guest import Guest

__all__ = ["Activity", "Counts", "watched"]

PROC = Path("/proc")
SLEEPS = "S"
LIMIT_NS = 4 * SECOND
LOOK_SECONDS = 0.1


class Counts(msgspec.Struct, frozen=True):
    """Of one vCPU: the exits of its own making, and whether it sleeps just now."""

    own: int
    halts: bool


class Activity(msgspec.Struct, frozen=True):
    """When a vCPU was last active."""

    last: Counts
    since_ns: int
    said: bool = False


def watched(before: Activity, now: Counts, now_ns: int) -> tuple[Activity, bool]:
    """One more look; whether it is to be said now that the vCPU hangs."""
    if now.halts or now.own != before.last.own:
        return Activity(now, now_ns), False
    is_due = now_ns - before.since_ns >= LIMIT_NS and not before.said
    return Activity(now, before.since_ns, before.said or is_due), is_due


class Vcpu:
    """One vCPU, from look to look."""

    def __init__(self, guest: str, number: int, thread: Path) -> None:
        self._guest, self._number, self._thread = guest, number, thread
        self._counter = ExitCounter(int(thread.name), OWN)
        self._activity = Activity(Counts(0, halts=True), time.monotonic_ns())

    def close(self) -> None:
        """Let go of it."""
        self._counter.close()

    def look(self) -> None:
        """Say what is to be said: that it hangs, or no more."""
        halts = look_at_task(self._thread).state == SLEEPS
        now_ns, before = time.monotonic_ns(), self._activity
        counts = Counts(self._counter.read(), halts=halts)
        self._activity, is_due = watched(before, counts, now_ns)
        if is_due:
            say_verdict(
                self._guest,
                VerdictKind.VCPU_HUNG,
                before.since_ns,
                f"no activity for {LIMIT_NS / SECOND:g} s",
                subject=f"vcpu{self._number}",
            )
        elif before.said and not self._activity.said:
            say_recovered(self._guest)


def _vcpus(guest: Guest, pid: int) -> list[Vcpu]:
    """None while it comes up or ends."""
    with suppress(ProcessLookupError):
        return [
            Vcpu(guest.name, number, PROC / f"{pid}/task/{thread}")
            for number, thread in vcpu_threads(pid)
        ]
    return []


def main() -> None:
    """Watch all vCPUs of all guests until SIGTERM."""
    began = time.monotonic()
    ends_on_sigterm()
    roster, known = Roster(), dict[int, list[Vcpu]]()
    say_armed(time.monotonic() - began)
    while True:
        lives = roster.lives()
        for pid in known.keys() - lives.keys():
            for vcpu in known.pop(pid):
                vcpu.close()
        for pid in lives.keys() - known.keys():
            if vcpus := _vcpus(lives[pid], pid):
                known[pid] = vcpus
        for vcpus in known.values():
            for vcpu in vcpus:
                vcpu.look()
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
