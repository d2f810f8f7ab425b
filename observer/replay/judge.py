# SPDX-License-Identifier: Apache-2.0
"""Judges a recording: one pass in order, compiled by numba.

A debt is late when its debtor's clock has gone on by the limit since it was opened; the
daemon's alarms look at the same clocks.  What was late and was paid after all is what a
limit would have cost: a suspicion for nothing, looked at twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from observer.kernel.cells import LIMITS
from observer.replay.event import Debt, What

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observer.replay.event import Events

__all__ = ["Ages", "Late", "ages_of", "late_by"]

Column = npt.NDArray[Any]
SLOTS = max(LIMITS.values())
OPENED, PAID, RENEWED = int(What.OPENED), int(What.PAID), int(What.RENEWED)
# Four steps to a factor of two, from 1 us to 19 hours: 19 % each.
STEPS_PER_OCTAVE, FIRST_NS, NR_STEPS = 4, 1000, 144
ROOM, MORE_ROOM = 1024, 16


class Late(NamedTuple):
    """Debts that were late by a limit, in the order in which they became so."""

    debt: Column
    slot: Column
    since_ns: Column
    """When each was opened."""
    age_ns: Column
    """On the debtor's clock, when it was paid or last looked at."""
    paid_ns: Column
    """When it was paid after all; 0: never within the recording."""


class Ages(NamedTuple):
    """How late the debts of a recording were when they were paid, by kind."""

    counts: Column
    """Shape (debts, steps): how many were paid so late."""
    longest_ns: Column

    def paid(self, debt: Debt) -> int:
        """How many were paid."""
        return int(self.counts[debt].sum())

    def later_than(self, debt: Debt, limit_ns: int) -> int:
        """How many were paid later than this: exact to a step, 19 % of the limit."""
        return int(self.counts[debt, _step_of(limit_ns) :].sum())


class _Debtors(NamedTuple):
    """What each owes, by kind and slot."""

    open_ns: Column
    """0: nothing."""
    open_clock_ns: Column
    late: Column
    """One more than where it is among the late; 0: it is not."""


def _nobody_owes() -> _Debtors:
    count = len(Debt) * SLOTS
    return _Debtors(np.zeros(count, "u8"), np.zeros(count, "u8"), np.zeros(count, "u4"))


@njit(nogil=True, cache=True)
def _step_of(age_ns: int) -> int:
    if age_ns <= FIRST_NS:
        return 0
    step = int(np.log2(age_ns / FIRST_NS) * STEPS_PER_OCTAVE) + 1
    return min(step, NR_STEPS - 1)


@njit(nogil=True, cache=True)
def _late(events: Events, limits: Column, debtors: _Debtors, late: Late) -> int:
    """How many were late; -1: there is no room for all."""
    open_ns, open_clock_ns, places = debtors
    found = 0
    for event in events:
        who, what = event.debt * SLOTS + event.slot, event.what
        if open_ns[who]:
            age = np.int64(event.clock_ns - open_clock_ns[who])
            place = places[who]
            if place == 0 and age >= limits[event.debt]:
                if found == len(late.slot):
                    return -1
                late.debt[found], late.slot[found] = event.debt, event.slot
                late.since_ns[found], late.paid_ns[found] = open_ns[who], 0
                found += 1
                place = places[who] = found
            if place:
                late.age_ns[place - 1] = age
            if PAID <= what <= RENEWED:
                if place:
                    late.paid_ns[place - 1] = event.ns
                    places[who] = 0
                open_ns[who] = 0
        if what == RENEWED or (what == OPENED and not open_ns[who]):
            open_ns[who], open_clock_ns[who] = event.ns, event.clock_ns
    return found


@njit(nogil=True, cache=True)
def _ages(events: Events, debtors: _Debtors, ages: Ages) -> None:
    open_ns, open_clock_ns, _ = debtors
    for event in events:
        who, what = event.debt * SLOTS + event.slot, event.what
        if open_ns[who] and PAID <= what <= RENEWED:
            age = np.int64(event.clock_ns - open_clock_ns[who])
            ages.counts[event.debt][_step_of(int(age))] += 1
            if age > ages.longest_ns[event.debt]:  # noqa: PLR1730 - int64 stays so
                ages.longest_ns[event.debt] = age
            open_ns[who] = 0
        if what == RENEWED or (what == OPENED and not open_ns[who]):
            open_ns[who], open_clock_ns[who] = event.ns, event.clock_ns


def late_by(events: Events, limits_ns: Mapping[Debt, int]) -> Late:
    """Who was late by these limits; a kind that is not named is never late."""
    limits = np.full(len(Debt), np.iinfo("i8").max, "i8")
    for debt, limit_ns in limits_ns.items():
        limits[debt] = limit_ns
    room = ROOM
    while True:
        late = Late(*(np.zeros(room, kind) for kind in ("u1", "u4", "u8", "i8", "u8")))
        found = _late(events, limits, _nobody_owes(), late)
        if found >= 0:
            return Late(*(column[:found] for column in late))
        room *= MORE_ROOM


def ages_of(events: Events) -> Ages:
    """All ages in one pass: what any limit would have cost."""
    ages = Ages(np.zeros((len(Debt), NR_STEPS), "i8"), np.zeros(len(Debt), "i8"))
    _ages(events, _nobody_owes(), ages)
    return ages
