# SPDX-License-Identifier: Apache-2.0
"""The compiled judge against one that is written to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS
from observer.replay.event import EVENT, Debt, Events, What
from observer.replay.judge import ages_of, late_by

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMITS = {Debt.VCPU: 100, Debt.BACKEND: 20, Debt.CALLED: 50, Debt.SERVICE: 15}
Told = tuple[int, int, int, Debt, What]

told = st.tuples(
    st.integers(0, 40),  # ns since the one before
    st.integers(-5, 40),  # and how far the debtor's clock went
    st.integers(0, 3),
    st.sampled_from(Debt),
    st.sampled_from(What),
)


def events_of(steps: Sequence[Told]) -> Events:
    """A stream; clocks are apart from the time, and each debtor has its own."""
    events, ns = np.zeros(len(steps), EVENT), 1000
    clocks: dict[tuple[Debt, int], int] = {}
    for event, (after, ran, slot, debt, what) in zip(events, steps, strict=True):
        ns += after
        clocks[debt, slot] = clocks.get((debt, slot), 500) + ran
        event["ns"], event["clock_ns"] = ns, clocks[debt, slot]
        event["slot"], event["debt"], event["what"] = slot, debt, what
    return events


@dataclass
class Owed:
    """A debt that is open."""

    since_ns: int
    clock_ns: int
    late: dict[str, int] | None = None


def read(events: Events) -> tuple[list[dict[str, int]], list[tuple[Debt, int]]]:
    """Who was late, and the ages of all that was paid."""
    owes: dict[tuple[int, int], Owed] = {}
    late: list[dict[str, int]] = []
    ages: list[tuple[Debt, int]] = []
    for ns, clock_ns, slot, debt, what, _ in events.tolist():
        owed = owes.get((debt, slot))
        if owed is not None:
            age = clock_ns - owed.clock_ns
            if owed.late is None and age >= LIMITS[Debt(debt)]:
                owed.late = {"debt": debt, "slot": slot, "since": owed.since_ns}
                owed.late["paid"] = 0
                late.append(owed.late)
            if owed.late is not None:
                owed.late["age"] = age
            if what in (What.PAID, What.RENEWED):
                ages.append((Debt(debt), age))
                if owed.late is not None:
                    owed.late["paid"] = ns
                del owes[debt, slot]
        opens = what == What.OPENED and (debt, slot) not in owes
        if what == What.RENEWED or opens:
            owes[debt, slot] = Owed(ns, clock_ns)
    return late, ages


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Not within the time that an example has."""
    late_by(np.zeros(0, EVENT), LIMITS)
    ages_of(np.zeros(0, EVENT))


@given(st.lists(told, max_size=120))
def test_what_is_late_is_what_a_reader_finds(steps: list[Told]) -> None:
    """Each debt once, when it became late, and whether it was paid after all."""
    events = events_of(steps)
    late, _ = read(events)
    found = late_by(events, LIMITS)

    columns = zip(*found, strict=True)
    names = "debt", "slot", "since", "age", "paid"
    assert [dict(zip(names, map(int, row), strict=True)) for row in columns] == late


@given(st.lists(told, max_size=120))
def test_ages_are_those_of_what_was_paid(steps: list[Told]) -> None:
    """Their number and the longest, by kind."""
    events = events_of(steps)
    _, ages = read(events)
    found = ages_of(events)

    for debt in Debt:
        its = [age for kind, age in ages if kind == debt]
        assert found.paid(debt) == len(its)
        assert found.longest_ns[debt] == max(0, *its, 0)


@given(st.lists(st.integers(0, 10**12), max_size=60), st.integers(1, 10**11))
def test_what_a_limit_would_have_cost_is_exact_to_a_step(
    ages: list[int], limit_ns: int
) -> None:
    """Of 19 %: not less than what was later by that, not more than by so much less."""
    events = np.zeros(2 * len(ages), EVENT)
    events["debt"], events["ns"] = Debt.BACKEND, np.arange(1, 2 * len(ages) + 1)
    events["what"][::2], events["what"][1::2] = What.OPENED, What.PAID
    events["clock_ns"][1::2] = ages
    found = ages_of(events).later_than(Debt.BACKEND, limit_ns)

    step = max(limit_ns * 0.2, 1000)
    assert sum(age >= limit_ns + step for age in ages) <= found
    assert found <= sum(age >= limit_ns - step for age in ages)


def test_more_is_late_than_there_is_room_for_at_first() -> None:
    """None is left out."""
    events = np.zeros(5000, EVENT)
    events["debt"], events["what"] = Debt.SERVICE, What.RENEWED
    events["ns"] = events["clock_ns"] = np.arange(1, 5001) * 20 * MS
    found = late_by(events, {Debt.SERVICE: 15 * MS})

    assert len(found.slot) == 4999
    assert not len(late_by(events, {Debt.SERVICE: 21 * MS}).slot)
    assert not len(late_by(events, {Debt.VCPU: 1}).slot)
