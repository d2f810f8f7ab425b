# SPDX-License-Identifier: Apache-2.0
"""Pings the agent in each guest; see README.md."""

from __future__ import annotations

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
    from observer.guests.guest import Guest

__all__: list[str] = []

SOCKET = "agent.sock"
SILENT = Finding(VerdictKind.GUEST_HUNG, "guest", "its agent does not answer")


class Agent:
    """One guest's, from ping to ping."""

    def __init__(self, guest: Guest) -> None:
        self._name, self._pid = guest.name, guest.pid
        self._wire = LineSocket(guest.files.folder / SOCKET, greets=False)
        self._misses = Misses()
        self._has_answered = False
        """It is no failure that one has not come up yet; from then on it is watched."""

    def close(self) -> None:
        """Let go of it."""
        self._wire.close()

    def ping(self) -> None:
        """Ask, without waiting."""
        self._wire.ask("guest-ping")

    def judge(self, deadline: float, failures: int) -> None:
        """Wait for its answer until a deadline, and say what is to be said."""
        answers = self._wire.answer(deadline) is not None
        if answers and not self._has_answered:
            self._has_answered = True
            say_watched(self._name, self._pid)
        if not self._has_answered:
            return
        before = self._misses
        found = None if answers else SILENT
        self._misses, due = counted(before, found, time.monotonic_ns(), failures)
        if due is not None:
            said = f"{due.evidence}, {self._misses.count} pings in a row"
            since_ns = self._misses.since_ns
            say_verdict(self._name, due.kind, since_ns, said, subject=due.subject)
        elif before.said and answers:
            say_recovered(self._name)


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
            agents.pop(pid).close()
        for pid in lives.keys() - agents.keys():
            agents[pid] = Agent(lives[pid])
        for agent in agents.values():
            agent.ping()
        deadline = time.monotonic() + answer
        for agent in agents.values():
            agent.judge(deadline, failures)
        due_ns = max(due_ns + int(every * SECOND), time.monotonic_ns())
        time.sleep(max(0, due_ns - time.monotonic_ns()) / SECOND)


if __name__ == "__main__":
    main()
