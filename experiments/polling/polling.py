# SPDX-License-Identifier: Apache-2.0
"""A daemon that polls: is the process there, does its monitor answer; see README.md."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from observer.clock import SECOND
from observer.errors import ProgramError
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_recovered,
    say_verdict,
)
from observer.experiment.line_socket import LineSocket
from observer.experiment.misses import Finding, Misses, counted
from observer.experiment.roster import Roster
from observer.inventory.task import ABSENT, TaskLook, look_at_task
from observer.model import VerdictKind

if TYPE_CHECKING:
    from observer.guests.guest import Guest

__all__ = ["Sight", "finding"]

PROC = Path("/proc")
ANSWER_SECONDS = 2.0
"""Masakari's timeout for an answer; less where one polls more often."""

WRONG = frozenset({"internal-error", "io-error", "guest-panicked"})


class Sight(msgspec.Struct, frozen=True):
    """What one poll saw of a VM."""

    vmm: TaskLook
    answers: bool
    back_end: TaskLook
    status: str = "running"


def finding(sight: Sight) -> Finding | None:
    """What is wrong, the gravest first; one paused by its monitor still answers."""
    gone, wrong = sight.vmm.gone, sight.status in WRONG
    found = (
        (gone, VerdictKind.VMM_CRASHED, "vmm", "its process is gone"),
        (sight.back_end.gone, VerdictKind.BACKEND_CRASHED, "disk", "its disk is gone"),
        (sight.vmm.stopped, VerdictKind.VMM_STOPPED, "vmm", "it is stopped"),
        (not sight.answers, VerdictKind.VMM_HUNG, "vmm", "its monitor is mute"),
        (wrong, VerdictKind.GUEST_HUNG, "guest", f"it is {sight.status}"),
        (sight.back_end.stopped, VerdictKind.BACKEND_HUNG, "disk", "it is stopped"),
    )
    for is_so, kind, subject, evidence in found:
        if is_so:
            is_certain = gone or sight.back_end.gone
            return Finding(kind, subject, evidence, is_certain=is_certain)
    return None


class Life:
    """One VM, from poll to poll."""

    def __init__(self, guest: Guest, pid: int) -> None:
        self.guest, self._pid = guest, pid
        self._monitor = LineSocket(guest.files.qmp, greets=True)
        self._misses = Misses()
        self._has_answered = False
        """A VMM that makes its devices does not answer yet."""

    def close(self) -> None:
        """Let go of its monitor."""
        self._monitor.close()

    def ask(self) -> None:
        """Send the question; the answer comes while others are asked."""
        self._monitor.ask("query-status")

    def look(self, deadline: float) -> Sight:
        """What there is to see, its answer being waited for until a deadline.

        Of one that is gone or stopped none is waited for.
        """
        vmm = look_at_task(PROC / str(self._pid))
        is_able = not vmm.gone and not vmm.stopped
        answer = self._monitor.answer(deadline) if is_able else None
        self._has_answered |= answer is not None
        back_end = ABSENT
        with suppress(ProgramError):  # its file says who it is, also after a restart
            back_end = look_at_task(PROC / str(self.guest.disk_pid))
        return Sight(
            vmm,
            answer is not None or not self._has_answered,
            back_end,
            answer["return"]["status"] if answer else "unknown",
        )

    def judge(self, sight: Sight, failures: int) -> None:
        """Say what is to be said."""
        before, now_ns = self._misses, time.monotonic_ns()
        found = finding(sight)
        self._misses, due = counted(before, found, now_ns, failures)
        if due is not None:
            say_verdict(
                self.guest.name,
                due.kind,
                self._misses.since_ns,
                f"{due.evidence}, {self._misses.count} polls in a row",
                subject=due.subject,
            )
        elif before.said and found is None:
            say_recovered(self.guest.name)


@click.command()
@click.option("--every", type=click.FloatRange(0.01), default=10.0, help="Seconds.")
@click.option("--failures", type=click.IntRange(1), default=3, help="In a row.")
def main(every: float, failures: int) -> None:
    """Poll all guests until SIGTERM."""
    began = time.monotonic()
    ends_on_sigterm()
    roster = Roster()
    lives: dict[int, Life] = {}
    wait = min(ANSWER_SECONDS, every)
    due_ns = time.monotonic_ns()
    say_armed(time.monotonic() - began)
    while True:
        now = roster.lives()
        for pid in lives.keys() - now.keys():
            lives.pop(pid).close()
        for pid in now.keys() - lives.keys():
            lives[pid] = Life(now[pid], pid)
        for life in lives.values():
            life.ask()
        deadline = time.monotonic() + wait
        for life in lives.values():
            life.judge(life.look(deadline), failures)
        due_ns = max(due_ns + int(every * SECOND), time.monotonic_ns())
        time.sleep(max(0, due_ns - time.monotonic_ns()) / SECOND)


if __name__ == "__main__":
    main()
