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

from observer.clock import MS, SECOND
from observer.errors import ProgramError
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_recovered,
    say_verdict,
    say_watched,
)
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
VALID_MS = 15
"""An implicit heartbeat is good for so long."""
LOOK_NS = SECOND
DEBUGFS = Path("/sys/kernel/debug/kvm")
INSTANCE = "observer-phoenix"
PRIORITY = 1  # the observer's
INDEX_BITS, INDEX = 32, 0xFFFFFFFF
ANSWER_BYTES = 4096


class Rule(msgspec.Struct, frozen=True):
    """How long a sign is good for, and whether it must be an answer."""

    valid_ns: int
    explicit: bool


class Pulse(msgspec.Struct, frozen=True):
    """What is known of a service's life."""

    sign_ns: int
    """The last sign, of whatever kind counts."""
    asked_ns: int = 0
    """When it was asked and has not answered; 0: it was not."""
    said: bool = False


def what_is_due(pulse: Pulse, now_ns: int, valid_ns: int) -> str:
    """`ask`, `say` that it hangs, or nothing."""
    if pulse.said:
        return ""
    if pulse.asked_ns:
        return "say" if now_ns - pulse.asked_ns >= ANSWER_NS else ""
    return "ask" if now_ns - pulse.sign_ns >= valid_ns else ""


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
        self.pulse = Pulse(time.monotonic_ns())
        self._parts: dict[int, Part] = {}
        self._exits = -1
        self._control = ServiceFolder(RUNTIME / name).vm.control
        self.wire: socket.socket | None = None
        """While it is asked: the port serves one at a time, and others have orders."""

    def hang_up(self) -> None:
        """Leave the control port to others."""
        if self.wire is not None:
            self.wire.close()
        self.wire = None

    def _own_exits(self) -> int:
        total = 0
        for vcpu in DEBUGFS.glob(f"{self.pid}-*/vcpu*"):
            exits, host = (int((vcpu / n).read_text()) for n in ("exits", "irq_exits"))
            total += exits - host
        return total

    def _alive(self, now_ns: int) -> None:
        self.hang_up()
        if self.pulse.said:
            say_recovered(self.name)
        self.pulse = Pulse(now_ns)

    def look(self, now_ns: int) -> None:
        """An exit of its own is an implicit heartbeat, where these count."""
        if self._rule.explicit:
            return
        with suppress(OSError):
            exits = self._own_exits()
            if exits != self._exits:
                self._exits = exits
                self._alive(now_ns)

    def answered(self, now_ns: int) -> None:
        """Something came by its control port."""
        with suppress(OSError):
            if self.wire is not None and self.wire.recv(ANSWER_BYTES):
                self._alive(now_ns)

    def act(self, now_ns: int) -> None:
        """Ask or say what is due."""
        due = what_is_due(self.pulse, now_ns, self._rule.valid_ns)
        if due == "ask":
            self.pulse = msgspec.structs.replace(self.pulse, asked_ns=now_ns)
            with suppress(ProgramError):  # then nothing will answer either
                self.wire = say(self._control, "beat")
        elif due == "say":
            self.hang_up()
            self.pulse = msgspec.structs.replace(self.pulse, said=True)
            say_verdict(
                self.name,
                VerdictKind.SERVICE_HUNG,
                self.pulse.sign_ns,
                f"no answer to a heartbeat in {ANSWER_NS / MS:g} ms",
            )

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
            self.watches.pop(pid).hang_up()
        for pid in up.keys() - self.watches.keys():
            watch = Watch(up[pid], pid, self._abi, self._rule)
            self.watches[pid] = watch
            say_watched(watch.name, pid)
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
    loop, looked_ns = Loop(abi, Rule(valid_ms * MS, explicit=explicit)), 0
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
