# SPDX-License-Identifier: Apache-2.0
"""Phoenix's heartbeat loop round a service VM, as a program; see README.md."""

from __future__ import annotations

import fcntl
import os
import termios
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
from observer.experiment.exit_counter import EXCHANGE, ExitCounter, vcpu_threads
from observer.experiment.hearing import services_up
from observer.experiment.hypercall_trace import hypercall_trace
from observer.inventory.task import look_at_task
from observer.model import VerdictKind
from observer.services.abi import Abi
from observer.services.control import say
from observer.services.folder import RUNTIME, ServiceFolder

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from observer.experiment.hypercall_trace import Hypercall

__all__ = [
    "Part",
    "Pulse",
    "Rule",
    "Standing",
    "part_after",
    "pulse_after",
    "used_ns",
    "wake_ns",
    "what_is_due",
]

PROC = Path("/proc")
TICK_NS = 5 * MS
ANSWER_NS = 5 * MS
"""A slice to answer a heartbeat in."""
EMULATED_ANSWER_NS = 10 * MS
"""The same where the CPU is emulated: of 7,304 answers the last took 8.7 ms."""
VALID_MS = 15
"""An implicit heartbeat is good for so long."""
PART_NS = VALID_MS * MS
"""An index of a part may stand for so long; 5 ms were too few on a busy host."""
LOOK_NS = SECOND
INSTANCE = "observer-phoenix"
PRIORITY = 1  # the observer's
INDEX_BITS, INDEX = 32, 0xFFFFFFFF
SCHEDSTAT_BYTES = 64
WAITS_FOR_CPU = "R"
INT_BYTES = 4


class Rule(msgspec.Struct, frozen=True):
    """How long a sign is good for, how long an answer may take, and what is a sign."""

    valid_ns: int
    answer_ns: int = ANSWER_NS
    explicit: bool = False
    """Only an answer is."""


class Standing(msgspec.Struct, frozen=True):
    """What a vCPU's thread had run, and waited for a CPU, at a moment."""

    ns: int
    ran_ns: int = 0
    waited_ns: int = 0


def used_ns(began: Standing, now: Standing, *, is_ready: bool) -> int:
    """How much of a slice is used: the time in which the thread ran or slept.

    `is_ready`: it runs or waits just now.  The kernel counts a wait once it is over, so
    of one that is ready only what it ran is sure.
    """
    if is_ready:
        return now.ran_ns - began.ran_ns
    return now.ns - began.ns - (now.waited_ns - began.waited_ns)


class Pulse(msgspec.Struct, frozen=True):
    """What is known of a service's life."""

    sign_ns: int
    """The last sign, of whatever kind counts."""
    asked_ns: int = 0
    """When it was asked and has not answered; 0: it was not."""
    slice_ns: int = 0
    """When its slice began: as it was asked, or later if that was long under way."""
    said: bool = False


def what_is_due(pulse: Pulse, now_ns: int, rule: Rule) -> str:
    """`ask`, `judge` whether it hangs, or nothing."""
    if pulse.said:
        return ""
    if pulse.asked_ns:
        return "judge" if now_ns - pulse.slice_ns >= rule.answer_ns else ""
    return "ask" if now_ns - pulse.sign_ns >= rule.valid_ns else ""


def pulse_after(pulse: Pulse, beat_ns: int) -> Pulse:
    """A beat is an answer if the service was asked before; else it is no sign."""
    is_answer = pulse.asked_ns and beat_ns >= pulse.asked_ns
    return Pulse(max(pulse.sign_ns, beat_ns)) if is_answer else pulse


def wake_ns(due_ns: int, now_ns: int, pulses: Iterable[Pulse], rule: Rule) -> int:
    """When to look again: at the next turn, or when a slice ends before it."""
    asked = (pulse for pulse in pulses if pulse.asked_ns and not pulse.said)
    ends = (pulse.slice_ns + rule.answer_ns for pulse in asked)
    return min([due_ns, *(end_ns for end_ns in ends if end_ns > now_ns)])


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
    """One life of a service, whose VM has one vCPU."""

    def __init__(self, name: str, pid: int, thread: int, abi: Abi, rule: Rule) -> None:
        """ProcessLookupError if it is gone."""
        self.name, self.pid, self.thread = name, pid, thread
        self._abi, self._rule = abi, rule
        self.pulse = Pulse(0)
        self._is_up = False
        """It has answered once: nothing is owed by who boots."""
        self._parts: dict[int, Part] = {}
        self._exits = 0
        self._counter = ExitCounter(thread, EXCHANGE)
        self._task = PROC / f"{pid}/task/{thread}"
        self._schedstat = os.open(self._task / "schedstat", os.O_RDONLY)
        """Held open: it is read at each question."""
        self._began = Standing(0)
        self._folder = ServiceFolder(RUNTIME / name)
        self._wire: socket.socket | None = None
        """While it is asked: the port serves one at a time, and others have orders."""

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    def is_over(self) -> bool:
        """Whether the end of it, that came, was said or meant."""
        return self.pulse.said or self._folder.has_ended(self.pid)

    def close(self) -> None:
        """Leave it alone."""
        self._hang_up()
        self._counter.close()
        os.close(self._schedstat)

    def _lives(self, pulse: Pulse) -> None:
        """It has given a sign that counts."""
        self._hang_up()
        if self.pulse.said:
            say_recovered(self.name)
        if not self._is_up:
            self._is_up = True
            say_watched(self.name, self.pid)
        self.pulse = pulse

    def look(self, now_ns: int) -> None:
        """An exchange with its devices is an implicit heartbeat, where these count."""
        if self._rule.explicit or not self._is_up:
            return
        exits = self._counter.read()
        if exits != self._exits:
            self._exits = exits
            self._lives(Pulse(now_ns))

    def _standing(self) -> Standing:
        now_ns = time.monotonic_ns()
        try:
            text = os.pread(self._schedstat, SCHEDSTAT_BYTES, 0)
        except ProcessLookupError:  # it has ended, and waits for nothing
            return Standing(now_ns, self._began.ran_ns, self._began.waited_ns)
        ran, waited, _ = text.split()
        return Standing(now_ns, int(ran), int(waited))

    def _is_under_way(self) -> bool:
        """Whether its VMM has not taken the question: its port may serve others."""
        if self._wire is None:
            return False
        left = fcntl.ioctl(self._wire, termios.TIOCOUTQ, bytes(INT_BYTES))
        return any(left) and not look_at_task(self._task).gone

    def _begin_slice(self) -> None:
        self._began = self._standing()
        self.pulse = msgspec.structs.replace(self.pulse, slice_ns=self._began.ns)

    def _judge(self) -> None:
        """Its slice may be over; of one that boots or was ended nothing is said."""
        if not self._is_up or self._folder.has_ended(self.pid):
            return
        is_ready = look_at_task(self._task).state == WAITS_FOR_CPU
        used = used_ns(self._began, self._standing(), is_ready=is_ready)
        if used >= self._rule.answer_ns:
            self.pulse = msgspec.structs.replace(self.pulse, said=True)
            say_verdict(
                self.name,
                VerdictKind.SERVICE_HUNG,
                self.pulse.sign_ns,
                f"no answer to a heartbeat in {self._rule.answer_ns / MS:g} ms",
            )

    def act(self, now_ns: int) -> None:
        """Ask or judge; who could not be asked is asked at the next turn."""
        if self._is_under_way() and not self.pulse.said:
            self._begin_slice()
        due = what_is_due(self.pulse, now_ns, self._rule)
        if due == "judge":
            self._judge()
        if due == "ask":
            self._begin_slice()
            self.pulse = msgspec.structs.replace(self.pulse, asked_ns=self._began.ns)
        if self.pulse.asked_ns and self._wire is None:
            with suppress(ProgramError):
                self._wire = say(self._folder.vm.control, "beat")

    def beat(self, call: Hypercall) -> None:
        """It may be an answer, and brings the two indices of each part."""
        pulse = pulse_after(self.pulse, call.ns)
        if pulse is not self.pulse:
            self._lives(pulse)
        who, _, private, shared = call.arguments
        service = who & self._abi["BEAT_SERVICE_MASK"]
        count = who >> self._abi["BEAT_PARTS_SHIFT"] & self._abi["BEAT_PARTS_MASK"]
        for number in range(count):
            own, theirs = (
                word >> INDEX_BITS * number & INDEX for word in (private, shared)
            )
            before = self._parts.get(number, Part(own, call.ns))
            self._parts[number], is_due = part_after(
                before, (own, theirs), call.ns, PART_NS
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


class Loop:
    """All services, tick by tick."""

    def __init__(self, abi: Abi, rule: Rule) -> None:
        self._abi, self._rule = abi, rule
        self._watches: dict[int, Watch] = {}
        self._owner: dict[int, Watch] = {}

    def look_who_is_up(self) -> None:
        """Services come and go."""
        up = {pid: name for name, pid in services_up().items()}
        for pid in self._watches.keys() - up.keys():
            if self._watches[pid].is_over():
                self._watches.pop(pid).close()
        for pid in up.keys() - self._watches.keys():
            for _, thread in list(vcpu_threads(pid))[:1]:
                with suppress(ProcessLookupError, FileNotFoundError):  # it has ended
                    watch = Watch(up[pid], pid, thread, self._abi, self._rule)
                    self._watches[pid] = watch
        self._owner = {watch.thread: watch for watch in self._watches.values()}

    def heard(self, calls: list[Hypercall]) -> None:
        """Beats are told apart by the thread that left its guest for them."""
        for call in calls:
            if watch := self._owner.get(call.thread):
                watch.beat(call)

    def tick(self, now_ns: int) -> None:
        """One turn of the loop."""
        for watch in self._watches.values():
            watch.look(now_ns)
            watch.act(now_ns)

    def wake_ns(self, due_ns: int) -> int:
        """When to look again."""
        pulses = [watch.pulse for watch in self._watches.values()]
        return wake_ns(due_ns, time.monotonic_ns(), pulses, self._rule)


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
            left_ns = max(0, loop.wake_ns(due_ns) - time.monotonic_ns())
            time.sleep(left_ns / SECOND)
            loop.heard(trace.take())
            now_ns = time.monotonic_ns()
            loop.tick(now_ns)
            due_ns = max(due_ns + TICK_NS, now_ns) if now_ns >= due_ns else due_ns


if __name__ == "__main__":
    main()
