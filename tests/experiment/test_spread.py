# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.errors import ProgramError
from observer.experiment.spread import (
    Answer,
    PhasedAnswer,
    phased,
    read_answers,
    spread_of,
)

MS = 1_000_000
LATENCIES = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


def test_a_file_of_the_clients_is_read() -> None:
    """Requests were due in turn; the second was never answered."""
    written = struct.pack("=6q", 1000, 10, 3, 7, -1, 9)

    assert read_answers(written) == [(1000, 7), (1010, None), (1020, 9)]


@pytest.mark.parametrize("written", [b"", struct.pack("=4q", 1000, 10, 2, 7)])
def test_a_file_that_was_cut_short_is_refused(written: bytes) -> None:
    """No sample is made up."""
    with pytest.raises(ProgramError, match="half"):
        read_answers(written)


@given(LATENCIES)
def test_percentiles_are_those_of_numpy(latencies: list[int]) -> None:
    """By nearest rank: each is a latency that was seen."""
    spread = spread_of(latencies)

    for percent, ours in ((50, spread.p50_ms), (95, spread.p95_ms)):
        theirs = np.percentile(latencies, percent, method="inverted_cdf") / MS
        assert ours == pytest.approx(theirs)
    assert spread.mean_ms == pytest.approx(np.mean(latencies) / MS)


@given(LATENCIES, st.integers(0, 300))
def test_what_was_lost_came_later_than_all(latencies: list[int], lost: int) -> None:
    """A percentile is that of all requests, or none where it falls among the lost."""
    spread = spread_of([*latencies, *[None] * lost])

    if lost * 2 > len(latencies) + lost:
        assert spread.p50_ms is None
    late = spread_of([*latencies, *[10**15] * lost])
    assert spread.p50_ms in (late.p50_ms, None)
    assert spread.p99_ms in (late.p99_ms, None)


def test_nothing_was_answered() -> None:
    """There is no figure, and none is zero."""
    assert set(spread_of([None, None]).__struct_fields__) == {
        "mean_ms",
        "p50_ms",
        "p95_ms",
        "p99_ms",
    }
    assert spread_of([None]) == spread_of([])
    assert spread_of([]).p50_ms is None


def test_requests_belong_to_the_phase_in_which_they_were_due() -> None:
    """One that was due before a fault and is answered behind it is of before."""
    answers = [Answer(5, 900), Answer(10, None), Answer(19, 1), Answer(20, 1)]

    assert phased(answers, [(10, "vmm-stop"), (20, "calm")]) == [
        PhasedAnswer("calm", 5, 900),
        PhasedAnswer("vmm-stop", 10, None),
        PhasedAnswer("vmm-stop", 19, 1),
        PhasedAnswer("calm", 20, 1),
    ]
