# SPDX-License-Identifier: Apache-2.0
"""Pings the agent in each guest; see README.md."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

import click

from observer.clock import SECOND
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_recovered,
    say_verdict,
    say_watched,
)
from observer.experiment.line_socket import LineSocket
from observer.experiment.misses import Finding, Misses, counted
from observer.experiment.roster import Roster
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Collection

    from observer.guests.guest import Guest

__all__ = ["Agent", "take_ready"]

SOCKET = "agent.sock"
SILENT = Finding(VerdictKind.GUEST_HUNG, "guest", "its agent does not answer")
HUNG_UP = "the port of its agent hung up"
"""QEMU holds the other end, and ends it only with itself."""


class Agent:
    """One guest's, from ping to ping."""

    def __init__(self, guest: Guest) -> None:
        self._name, self._pid = guest.name, guest.pid
        self.wire = LineSocket(guest.files.folder / SOCKET, greets=False)
        kind = VerdictKind.VMM_CRASHED
        self._gone = Finding(kind, guest.name, HUNG_UP, is_certain=True)
        self._misses = Misses()
        self._owes = False
        self._has_answered = False
        """It is no failure that one has not come up yet; from then on it is watched."""

    @property
    def is_awaited(self) -> bool:
        """Whether an answer may still come to the last ping."""
        return self._owes and self.wire.fileno() is not None

    def ping(self) -> None:
        """Ask, without waiting."""
        self._owes = True
        self.wire.ask("guest-ping")

    def take(self) -> None:
        """Take what has come: an answer, or that nobody is there to give one.

        An answer that comes after its time is none.
        """
        if self.wire.answer(time.monotonic()) is not None:
            if self._owes:
                self._heed_answer()
            self._owes = False
        elif self.wire.has_hung_up and self._has_answered:
            self._heed(self._gone, 1)

    def miss(self, failures: int) -> None:
        """Its time to answer is over."""
        if self._owes and self._has_answered:
            found = self._gone if self.wire.has_hung_up else SILENT
            self._heed(found, failures)
        self._owes = False

    def _heed_answer(self) -> None:
        if not self._has_answered:
            self._has_answered = True
            say_watched(self._name, self._pid)
        if self._misses.said:
            say_recovered(self._name)
        self._misses = Misses()

    def _heed(self, found: Finding, failures: int) -> None:
        before, now_ns = self._misses, time.monotonic_ns()
        self._misses, due = counted(before, found, now_ns, failures)
        if due is not None:
            said, since_ns = due.evidence, self._misses.since_ns
            if not due.is_certain:
                said += f", {self._misses.count} pings in a row"
            say_verdict(self._name, due.kind, since_ns, said, subject=due.subject)


def take_ready(agents: Collection[Agent], seconds: float) -> None:
    """Wait until something comes from any of them, so long at most, and take it."""
    its = {fd: agent for agent in agents if (fd := agent.wire.fileno()) is not None}
    ready, _, _ = select.select(list(its), [], [], seconds)
    for fd in ready:
        its[fd].take()


@click.command()
@click.option("--every", type=click.FloatRange(0.01), default=1.0, help="Seconds.")
@click.option("--answer", type=click.FloatRange(0.01), default=1.0, help="Seconds.")
@click.option("--failures", type=click.IntRange(1), default=3, help="In a row.")
def main(every: float, answer: float, failures: int) -> None:
    """Ping all guests until SIGTERM."""
    began = time.monotonic()
    ends_on_sigterm()
    roster = Roster(found=lambda *_: None)
    agents: dict[int, Agent] = {}
    due_ns = time.monotonic_ns()
    say_armed(time.monotonic() - began)
    while True:
        lives = roster.lives()
        for pid in agents.keys() - lives.keys():
            agents.pop(pid).wire.close()
        for pid in lives.keys() - agents.keys():
            agents[pid] = Agent(lives[pid])
        for agent in agents.values():
            agent.ping()
        deadline = time.monotonic() + answer
        while any(agent.is_awaited for agent in agents.values()):
            if (left := deadline - time.monotonic()) <= 0:
                break
            take_ready(agents.values(), left)
        for agent in agents.values():
            agent.miss(failures)
        due_ns = max(due_ns + int(every * SECOND), time.monotonic_ns())
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            take_ready(agents.values(), left_ns / SECOND)


if __name__ == "__main__":
    main()
