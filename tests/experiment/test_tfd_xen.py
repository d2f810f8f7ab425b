# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from experiment_program import program
from hypothesis import given
from hypothesis import strategies as st

TFD_XEN = program("tfd_xen/tfd_xen.py")
INTERVAL_NS, INTERVALS = TFD_XEN.INTERVAL_NS, TFD_XEN.INTERVALS
Counters, Progress, watched = TFD_XEN.Counters, TFD_XEN.Progress, TFD_XEN.watched


def after(*steps: tuple[int, int], start: tuple[int, int] = (7, 7)) -> Progress:
    """A watch over intervals in which so much was served and asked."""
    now, clock_ns = Counters(*start), 1000
    progress = Progress(now, clock_ns)
    for served, asked in steps:
        clock_ns += INTERVAL_NS
        now = Counters(now.served + served, now.asked + asked)
        progress = watched(progress, now, clock_ns)
    return progress


def test_asked_and_not_served_for_so_many_intervals_is_a_failure() -> None:
    """Not one interval earlier; since when, the last progress says."""
    assert not after(*[(0, 3)] * (INTERVALS - 1)).has_failed
    failed = after((1, 1), *[(0, 3)] * INTERVALS)
    assert failed.has_failed
    assert failed.since_ns == 1000 + INTERVAL_NS


def test_silence_is_no_failure() -> None:
    """Nobody asks, so nothing need be served."""
    assert not after(*[(0, 0)] * 100).has_failed


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=INTERVALS, max_size=30
    )
)
def test_who_serves_has_not_failed(steps: list[tuple[int, int]]) -> None:
    """However much is asked."""
    assert not after(*steps).has_failed


def test_progress_begins_the_count_anew() -> None:
    """One frame between two silences."""
    stuck = [(0, 1)] * (INTERVALS - 1)
    assert not after(*stuck, (1, 0), *stuck).has_failed


@given(
    st.lists(
        st.one_of(st.integers(0, INTERVAL_NS - 1), st.integers(0, 9 * INTERVAL_NS)),
        max_size=30,
    )
)
def test_a_turn_comes_each_interval_whatever_its_work_takes(works: list[int]) -> None:
    """Where it takes longer the turns go on from there: none is made up for."""
    due_ns = now_ns = 0
    for work_ns in works:
        now_ns = due_ns + work_ns
        before_ns, due_ns = due_ns, TFD_XEN.next_due_ns(due_ns, now_ns)
        if work_ns < INTERVAL_NS:
            assert due_ns == before_ns + INTERVAL_NS
        else:
            assert due_ns == now_ns + INTERVAL_NS
