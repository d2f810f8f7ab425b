# SPDX-License-Identifier: Apache-2.0
"""Phoenix's heartbeat loop round a service VM, as a program; see README.md."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from observer.bench.report import is_emulated
from observer.clock import MS, SECOND
from observer.demo.report import host_facts
from observer.errors import ProgramError
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_recovered,
    say_verdict,
    say_watched,
)
from observer.experiment.exit_counter import ExitCounter, vcpu_threads
from observer.experiment.hearing import services_up
from observer.experiment.hypercall_trace import hypercall_trace
from observer.model import VerdictKind
from observer.services.abi import Abi
from observer.services.control import say
from observer.services.folder import RUNTIME, ServiceFolder

if TYPE_CHECKING:
    import socket

    from observer.experiment.hypercall_trace import Hypercall

__all__ = ["Part", "Pulse", "Rule", "part_after", "what_is_due"]

TICK_NS = 5 * MS
ANSWER_NS = 5 * MS
"""A slice to answer a heartbeat in."""
EMULATED_ANSWER_NS = 20 * MS
"""The same where the CPU is emulated: 4 ms in the median, up to 11 ms."""
VALID_MS = 15
"""An implicit heartbeat is good for so long."""
LOOK_NS = SECOND
INSTANCE = "observer-phoenix"
PRIORITY = 1  # the observer's
INDEX_BITS, INDEX = 32, 0xFFFFFFFF
ANSWER_BYTES = 4096


class Rule(msgspec.Struct, frozen=True):
    """How long a sign is good for, how long an answer may take, and what is a sign."""

    valid_ns: int
    answer_ns: int = ANSWER_NS
    explicit: bool = False
    """Only an answer is."""


class Pulse(msgspec.Struct, frozen=True):
    """What is known of a service's life."""

    sign_ns: int
    """The last sign, of whatever kind counts."""
    asked_ns: int = 0
    """When it was asked and has not answered; 0: it was not."""
    said: bool = False


def what_is_due(pulse: Pulse, now_ns: int, rule: Rule) -> str:
    """`ask`, `say` that it hangs, or nothing."""
    if pulse.asked_ns:
        late = now_ns - pulse.asked_ns >= rule.answer_ns
        return "say" if late and not pulse.said else ""
    return "ask" if now_ns - pulse.sign_ns >= rule.valid_ns else ""


class Part(msgspec.Struct, frozen=True):
    """A part of a service by its indices, as its beats bring them."""

    private: int
    since_ns: int
    """When it owed nothing last, or did some."""
    said: bool = False


def part_after(
    before: Part, indices: tuple[int, int], now_ns: int, valid_ns: int
) -> tuple[Part, bool]:
    """One more beat; whether it is to be said now that the part hangs.

    `indices` are its private and its shared one.
    """
    private, shared = indices
    if private == shared or private != before.private:
        return Part(private, now_ns), False
    is_due = now_ns - before.since_ns >= valid_ns and not before.said
    return Part(private, before.since_ns, before.said or is_due), is_due


class Watch:
    """One life of a service."""

    def __init__(self, name: str, pid: int, abi: Abi, rule: Rule) -> None:
        self.name, self.pid = name, pid
        self._abi, self._rule = abi, rule
        self.pulse = Pulse(0)
        self._is_up = False
        """It has answered once: nothing is owed by who boots."""
        self._parts: dict[int, Part] = {}
        self._exits = 0
        self._counters = [ExitCounter(thread) for _, thread in vcpu_threads(pid)]
        self._folder = ServiceFolder(RUNTIME / name)
        self.wire: socket.socket | None = None
        """While it is asked: the port serves one at a time, and others have orders."""

    def _hang_up(self) -> None:
        if self.wire is not None:
            self.wire.close()
        self.wire = None

    def is_over(self) -> bool:
        """Whether the end of it, that came, was said or meant."""
        return self.pulse.said or self._folder.has_ended(self.pid)

    def close(self) -> None:
        """Leave it alone."""
        self._hang_up()
        for counter in self._counters:
            counter.close()

    def _alive(self, now_ns: int) -> None:
        self._hang_up()
        if self.pulse.said:
            say_recovered(self.name)
        if not self._is_up:
            self._is_up = True
            say_watched(self.name, self.pid)
        self.pulse = Pulse(now_ns)

    def look(self, now_ns: int) -> None:
        """An exit of its own is an implicit heartbeat, where these count."""
        if self._rule.explicit or not self._is_up:
            return
        exits = sum(counter.read() for counter in self._counters)
        if exits != self._exits:
            self._exits = exits
            self._alive(now_ns)

    def answered(self, now_ns: int) -> None:
        """Something came by its control port: an answer, or its end."""
        heard = b""
        with suppress(OSError):
            if self.wire is not None:
                heard = self.wire.recv(ANSWER_BYTES)
        if heard:
            self._alive(now_ns)
        else:
            self._hang_up()

    def act(self, now_ns: int) -> None:
        """Ask or say what is due; who could not be asked is asked at the next turn."""
        due = what_is_due(self.pulse, now_ns, self._rule)
        if due == "say" and self._is_up and not self._folder.has_ended(self.pid):
            self.pulse = msgspec.structs.replace(self.pulse, said=True)
            say_verdict(
                self.name,
                VerdictKind.SERVICE_HUNG,
                self.pulse.sign_ns,
                f"no answer to a heartbeat in {self._rule.answer_ns / MS:g} ms",
            )
        if due == "ask":
            self.pulse = msgspec.structs.replace(self.pulse, asked_ns=now_ns)
        if self.pulse.asked_ns and self.wire is None:
            with suppress(ProgramError):
                self.wire = say(self._folder.vm.control, "beat")

    def beat(self, call: Hypercall) -> None:
        """A beat brings the private and the shared index of each part."""
        who, _, private, shared = call.arguments
        service = who & self._abi["BEAT_SERVICE_MASK"]
        count = who >> self._abi["BEAT_PARTS_SHIFT"] & self._abi["BEAT_PARTS_MASK"]
        for number in range(count):
            own, theirs = (
                word >> INDEX_BITS * number & INDEX for word in (private, shared)
            )
            before = self._parts.get(number, Part(own, call.ns))
            self._parts[number], is_due = part_after(
                before, (own, theirs), call.ns, self._rule.valid_ns
            )
            if is_due:
                say_verdict(
                    self.name,
                    VerdictKind.PART_HUNG,
                    before.since_ns,
                    f"its private index stands at {own}, the shared one is {theirs}",
                    subject=self._abi.part_name(service, number),
                )
            elif before.said and not self._parts[number].said:
                say_recovered(self.name)


def _threads(pid: int) -> set[int]:
    with suppress(OSError):
        return {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()}
    return set()


class Loop:
    """All services, tick by tick."""

    def __init__(self, abi: Abi, rule: Rule) -> None:
        self._abi, self._rule = abi, rule
        self.watches: dict[int, Watch] = {}
        self._owner: dict[int, Watch] = {}

    def look_who_is_up(self) -> None:
        """Services come and go."""
        up = {pid: name for name, pid in services_up().items()}
        for pid in self.watches.keys() - up.keys():
            if self.watches[pid].is_over():
                self.watches.pop(pid).close()
        for pid in up.keys() - self.watches.keys():
            with suppress(ProcessLookupError):  # it has ended just now
                self.watches[pid] = Watch(up[pid], pid, self._abi, self._rule)
        self._owner = {
            thread: watch
            for pid, watch in self.watches.items()
            for thread in _threads(pid)
        }

    def heard(self, calls: list[Hypercall]) -> None:
        """Beats are told apart by the thread that left its guest for them."""
        for call in calls:
            if watch := self._owner.get(call.thread):
                watch.beat(call)

    def tick(self, ready: set[object], now_ns: int) -> None:
        """One turn of the loop."""
        for watch in self.watches.values():
            if watch.wire in ready:
                watch.answered(now_ns)
            watch.look(now_ns)
            watch.act(now_ns)


@click.command()
@click.option("--explicit", is_flag=True, help="No sign of life counts but an answer.")
@click.option("--valid-ms", type=click.IntRange(1), default=VALID_MS)
def main(*, explicit: bool, valid_ms: int) -> None:
    """Watch all services until SIGTERM."""
    began = time.monotonic()
    ends_on_sigterm()
    abi = Abi.of_header()
    answer_ns = EMULATED_ANSWER_NS if is_emulated(host_facts()) else ANSWER_NS
    loop, looked_ns = Loop(abi, Rule(valid_ms * MS, answer_ns, explicit)), 0
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    with hypercall_trace(INSTANCE, abi["HYPERCALL_BEAT"]) as trace:
        say_armed(time.monotonic() - began)
        due_ns = time.monotonic_ns()
        while True:
            if time.monotonic_ns() - looked_ns >= LOOK_NS:
                loop.look_who_is_up()
                looked_ns = time.monotonic_ns()
            wires = [w.wire for w in loop.watches.values() if w.wire is not None]
            left_ns = max(0, due_ns - time.monotonic_ns())
            ready, _, _ = select.select(wires, [], [], left_ns / SECOND)
            loop.heard(trace.take())
            now_ns = time.monotonic_ns()
            loop.tick(set(ready), now_ns)
            due_ns = max(due_ns + TICK_NS, now_ns) if now_ns >= due_ns else due_ns


if __name__ == "__main__":
    main()
