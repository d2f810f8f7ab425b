# SPDX-License-Identifier: Apache-2.0
"""What a run takes a design through, and what is to be said of each case.

The guests are those of the demo, and so are most faults.  A kick or a call that is lost
is missed only where the other end does not happen to look once more, so these two are
lost until one was: the guest's own traffic shows it.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.demo.cases import FAULTS, FaultCase
from observer.errors import DeadlineError, ProgramError
from observer.experiment.frames import FROM_GUEST, TO_GUEST, frames
from observer.experiment.last_lines import last_lines
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.inventory.task import tasks_of
from observer.model import VerdictKind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from observer.experiment.frames import Frames
    from observer.guests.guest import Guest

__all__ = ["CASES", "GUESTS", "SILENT", "begin", "lives_of"]

PROC = Path("/proc")
TRIES = 6
STANDS_NS, LOOK_SECONDS = 200 * MS, 0.002
PING_SECONDS = 20.0
MISSED_MS = 50.0
ANSWERED = re.compile(r"\btime=([\d.]+) ms")
PASSING_WAIT_MS = 10_000.0
LAST_ACTS = frozenset({"guest-panic", "guest-irqoff-spin", "guest-halt", "vcpu-lockup"})
"""The guest itself tells the moment."""
GUESTS = {1: "web1", 2: "db1"}
"""By their vCPUs."""

CASES = {
    case.fault: msgspec.structs.replace(
        case,
        guest=GUESTS[case.vcpus],
        # a kick that was lost would show by the disk, which is gone then
        # and a vCPU that was locked up would leave little of the guest to fail
        fatal=case.fatal or case.fault in ("backend-crash", "vcpu-lockup"),
    )
    for case in (
        *FAULTS,
        FaultCase(
            "lost-kick",
            "web1",
            VerdictKind.BACKEND_HUNG,
            "vhost-*",
            PASSING_WAIT_MS,
            fatal=True,
        ),
        FaultCase(
            "lost-call",
            "web1",
            VerdictKind.GUEST_HUNG,
            "guest",
            PASSING_WAIT_MS,
            fatal=True,
        ),
    )
}
"""By their names, each on the guest that has as many vCPUs as it needs."""
SILENT = ("idle", "busy", "link-down", "paused", "snapshot", "host-overload")
"""Beside `boot`, which each life of a guest begins with."""


def lives_of(faults: Sequence[str], chance: random.Random) -> list[list[FaultCase]]:
    """The faults in lives of guests, in an order of chance.

    A life has any number of faults that can be undone, and ends with one that cannot.
    """
    lives: list[list[FaultCase]] = []
    for guest in GUESTS.values():
        its = [CASES[f] for f in faults if CASES[f].guest == guest]
        passing = [case for case in its if not case.fatal]
        fatal = [case for case in its if case.fatal]
        chance.shuffle(passing)
        chance.shuffle(fatal)
        # What can be undone comes first: that a disk is gone, or a vCPU, cannot.
        passing.sort(key=lambda case: not GUEST_FAULTS[case.fault].passing)
        own = [[case] for case in fatal] or [[]]
        own[0] = [*passing, *own[0]]
        lives += [life for life in own if life]
    chance.shuffle(lives)
    return lives


# -- how each is begun ----------------------------------------------------------------


def _stands_since(sent: Frames, clock: Callable[[], int]) -> int | None:
    """When the last of the guest's frames came; None: they come."""
    began_ns = clock()
    while (now_ns := clock()) - began_ns < 2 * STANDS_NS:
        came_ns = sent.passed_ns()
        if came_ns and now_ns - came_ns[-1] > STANDS_NS:
            return came_ns[-1]
        time.sleep(LOOK_SECONDS)
    return None


def _lose_kick(guest: Guest, stack: ExitStack) -> int:
    """While the guest sends for ever."""
    guest.order("busy net")
    guest.order("busy disk")  # what else it does shows that a kick was lost
    with frames(guest.tap, FROM_GUEST) as sent:
        for _ in range(TRIES):
            wait_until(
                lambda: bool(sent.passed_ns()),
                PING_SECONDS,
                f"{guest.name} sent a frame",
            )
            stack.enter_context(inject("lost-kick", guest, GUEST_FAULTS))
            since_ns = _stands_since(sent, time.monotonic_ns)
            if since_ns is not None:
                return since_ns
    raise DeadlineError(f"None of {TRIES} lost kicks was missed by {guest.name}.")


def _answer_ms(guest: Guest) -> float:
    """How long it takes to answer one question; infinite where it does not."""
    argv = ["busybox", "ping", "-c", "1", "-W", "1", guest.spec.guest_address]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=PING_SECONDS
    )
    took = ANSWERED.search(done.stdout)
    return float(took[1]) if took else math.inf


def _lose_call(guest: Guest, stack: ExitStack) -> int:
    """While the guest sleeps; somebody asks it something, and is not answered.

    Or is answered late, by a design that calls it again; none does so in `MISSED_MS`.
    """
    for _ in range(TRIES):
        wait_until(
            lambda: _answer_ms(guest) < MISSED_MS / 2, PING_SECONDS, "it answered soon"
        )
        stack.enter_context(inject("lost-call", guest, GUEST_FAULTS))
        with frames(guest.tap, TO_GUEST) as asked:
            if _answer_ms(guest) > MISSED_MS and (sent_ns := asked.passed_ns()):
                return sent_ns[0]
    raise DeadlineError(f"None of {TRIES} lost calls was missed by {guest.name}.")


def begin(case: FaultCase, guest: Guest, stack: ExitStack) -> int:
    """Break it; the CLOCK_MONOTONIC ns of the effect.  The stack undoes what can be."""
    own = {"lost-kick": _lose_kick, "lost-call": _lose_call}.get(case.fault)
    if own is not None:
        return own(guest, stack)
    with last_lines() if case.fault in LAST_ACTS else nullcontext() as lines:
        done = stack.enter_context(inject(case.fault, guest, GUEST_FAULTS))
        if lines is None:
            return done.effect_ns
        effect_ns = lines.before(tasks_of(PROC, guest.pid), done.effect_ns)
    if effect_ns is None:
        raise ProgramError(f"The kernel's trace has no last line of {guest.name}.")
    return effect_ns
