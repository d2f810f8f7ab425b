# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from observer.experiment.arrivals import (
    Account,
    Arrival,
    Gap,
    account,
    outage,
    total,
)


def came(*numbers: int) -> list[Arrival]:
    return [Arrival(number, k) for k, number in enumerate(numbers)]


@given(
    st.integers(0, 40),
    st.sets(st.integers(0, 39)),
    st.sets(st.integers(0, 39)),
)
def test_each_number_is_lost_or_came_and_copies_are_no_more_than_that(
    sent: int, dropped: set[int], doubled: set[int]
) -> None:
    """What was taken out is lost, what was put in twice is a copy, nothing is late."""
    numbers = [
        number
        for number in range(sent)
        if number not in dropped
        for _ in range(2 if number in doubled else 1)
    ]

    found = account(came(*numbers), 0, sent - 1)

    lost = len([n for n in dropped if n < sent])
    copies = len([n for n in doubled - dropped if n < sent])
    assert found == Account(sent, lost, copies, 0)


def test_one_that_was_overtaken_is_late_and_not_lost() -> None:
    """2 came after 3; the second 1 is a copy and not late as well."""
    assert account(came(0, 1, 3, 2, 1), 0, 3) == Account(4, 0, 1, 1)


def test_numbers_of_other_runs_do_not_count() -> None:
    """Only those of the window."""
    assert account(came(0, 1, 2, 3, 4, 9), 2, 4) == Account(3, 0, 0, 0)


def test_nothing_sent_is_nothing_lost() -> None:
    """An empty window."""
    assert account(came(5), 6, 5) == Account(0, 0, 0, 0)


def test_streams_add_up() -> None:
    """Both ways together."""
    assert total([Account(9, 1, 2, 3), Account(1, 1, 0, 0)]) == Account(10, 2, 2, 3)


def test_an_outage_ends_after_the_fault_and_begins_before_its_end() -> None:
    """One that was over before, or came when all was mended, is not its doing."""
    arrivals = [Arrival(k, ns) for k, ns in enumerate((0, 900, 910, 950, 1200, 1210))]

    assert outage(arrivals, 940, 2000) == Gap(950, 1200)
    assert outage(arrivals, 100, 2000) == Gap(0, 900)
    assert outage(arrivals, 905, 930) == Gap(910, 950)


def test_a_stream_that_never_went_on_has_no_gap_that_ended() -> None:
    """It lasts."""
    assert outage(came(0, 1, 2), 2, 9) is None
    assert outage([], 0, 9) is None
