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
from observer.experiment.guest_acts import LAST_LINE, LOSS, guest_acts
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.inventory.task import tasks_of
from observer.model import VerdictKind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from observer.experiment.guest_acts import GuestActs
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


def _frames_sent(guest: Guest) -> int:
    path = Path(f"/sys/class/net/{guest.tap}/statistics/rx_packets")
    return int(path.read_text())


def _stands(guest: Guest, clock: Callable[[], int]) -> bool:
    """Whether no frame of the guest's comes any more; else they come again."""
    last, since_ns, began_ns = _frames_sent(guest), clock(), clock()
    while (now_ns := clock()) - began_ns < 2 * STANDS_NS:
        if now_ns - since_ns > STANDS_NS:
            return True
        time.sleep(LOOK_SECONDS)
        if (now := _frames_sent(guest)) != last:
            last, since_ns = now, clock()
    return False


def _act_ns(acts: GuestActs, guest: Guest, until_ns: int) -> int:
    """When the guest did it; ProgramError if that was not traced."""
    ns = acts.last(tasks_of(PROC, guest.pid), until_ns)
    if ns is None:
        raise ProgramError(f"The kernel's trace has no act of {guest.name}.")
    return ns


def _lose_kick(guest: Guest, stack: ExitStack) -> int:
    """While the guest sends for ever."""
    guest.order("busy net")
    guest.order("busy disk")  # what else it does shows that a kick was lost
    for _ in range(TRIES):
        with guest_acts(LOSS) as losses:
            stack.enter_context(inject("lost-kick", guest, GUEST_FAULTS))
            if _stands(guest, time.monotonic_ns):
                return _act_ns(losses, guest, time.monotonic_ns())
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
        with guest_acts(LOSS) as losses:
            stack.enter_context(inject("lost-call", guest, GUEST_FAULTS))
            if _answer_ms(guest) > MISSED_MS:
                return _act_ns(losses, guest, time.monotonic_ns())
    raise DeadlineError(f"None of {TRIES} lost calls was missed by {guest.name}.")


def begin(case: FaultCase, guest: Guest, stack: ExitStack) -> int:
    """Break it; the CLOCK_MONOTONIC ns of the effect.  The stack undoes what can be."""
    own = {"lost-kick": _lose_kick, "lost-call": _lose_call}.get(case.fault)
    if own is not None:
        return own(guest, stack)
    with guest_acts(LAST_LINE) if case.fault in LAST_ACTS else nullcontext() as acts:
        done = stack.enter_context(inject(case.fault, guest, GUEST_FAULTS))
        return _act_ns(acts, guest, done.effect_ns) if acts else done.effect_ns
