# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from observer.experiment.misses import Finding, Misses, counted
from observer.model import VerdictKind

MUTE = Finding(VerdictKind.VMM_HUNG, "vmm", "its monitor is mute")
GONE = Finding(VerdictKind.VMM_CRASHED, "vmm", "it is gone", is_certain=True)


def said(polls: list[Finding | None], failures: int) -> list[int]:
    """In which polls something is said."""
    misses, found = Misses(), []
    for number, poll in enumerate(polls):
        misses, due = counted(misses, poll, number, failures)
        if due is not None:
            found.append(number)
    return found


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_a_failure_is_said_once_after_so_many_in_a_row(
    bad: list[bool], failures: int
) -> None:
    """Counted by hand from the runs of bad polls."""
    wanted, streak = [], 0
    for number, is_bad in enumerate(bad):
        streak = streak + 1 if is_bad else 0
        if streak == failures:
            wanted.append(number)

    assert said([MUTE if is_bad else None for is_bad in bad], failures) == wanted


def test_what_is_certain_is_said_at_once() -> None:
    """A process that is gone does not come back; and not again at the next poll."""
    assert said([None, GONE, GONE, None, GONE], 3) == [1, 4]


def test_what_becomes_certain_is_not_said_twice() -> None:
    """It was mute, that was said, and then it was gone."""
    assert said([MUTE, MUTE, GONE], 2) == [1]


def test_it_counts_from_the_first_bad_poll() -> None:
    """Since then it has failed, as far as a poller knows."""
    misses = Misses()
    for now_ns in (10, 20, 30):
        misses, _ = counted(misses, MUTE, now_ns, 3)

    assert (misses.since_ns, misses.count, misses.said) == (10, 3, True)
