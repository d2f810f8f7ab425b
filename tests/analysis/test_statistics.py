# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests against numpy, brute force, and cases known in closed form."""

from __future__ import annotations

from itertools import combinations, product
from math import comb, isnan, log
from statistics import fmean, median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observer.analysis.statistics import (
    least_p,
    mean_interval,
    median_interval,
    permutation_p,
    ratio_interval,
    sign_flip_p,
    slope,
)

figures = st.integers(0, 1000).map(float)
few = st.lists(figures, min_size=1, max_size=4)


def by_hand(ours: list[float], theirs: list[float]) -> float:
    """All ways to deal, in words."""
    pooled = [*ours, *theirs]
    places = range(len(pooled))

    def apart(mine: tuple[int, ...]) -> tuple[float, float]:
        one = [pooled[i] for i in mine]
        other = [pooled[i] for i in places if i not in mine]
        return (
            round(abs(median(one) - median(other)), 6),
            round(abs(fmean(one) - fmean(other)), 6),
        )

    far = apart(tuple(range(len(ours))))
    ways = list(combinations(places, len(ours)))
    return sum(apart(way) >= far for way in ways) / len(ways)


@settings(max_examples=50, deadline=None)
@given(few, few)
def test_p_is_the_share_of_ways_to_deal_that_are_as_far_apart(
    ours: list[float], theirs: list[float]
) -> None:
    """Counted one by one, and the same whoever comes first."""
    found = permutation_p(ours, theirs)

    assert found == pytest.approx(by_hand(ours, theirs))
    assert found == pytest.approx(permutation_p(theirs, ours))


def test_p_of_five_that_are_all_less_than_five() -> None:
    """Two ways in 252; nothing can be surer with so many runs."""
    found = permutation_p(range(5), range(10, 15))

    assert found == pytest.approx(2 / comb(10, 5)) == pytest.approx(least_p(5, 5))
    assert permutation_p(range(3), range(10, 15)) == pytest.approx(least_p(3, 5))


def test_p_of_many_runs_is_drawn_and_never_nothing() -> None:
    """Twenty against twenty are too many ways to look at."""
    chance = np.random.default_rng(1)
    same = permutation_p(chance.normal(0, 1, 20), chance.normal(0, 1, 20))
    other = permutation_p(chance.normal(0, 1, 20), chance.normal(9, 1, 20))

    assert same > 0.05
    assert other == pytest.approx(1 / 10_001)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([0.25, 0.5, 0.8, 1.0, 1.25, 3.0]), min_size=1, max_size=6)
)
def test_p_of_pairs_is_the_share_of_ways_to_swap_them(ratios: list[float]) -> None:
    """Counted one by one."""
    far = abs(sum(map(log, ratios)))
    ways = [
        abs(sum(log(r**sign) for r, sign in zip(ratios, signs, strict=True)))
        for signs in product((1, -1), repeat=len(ratios))
    ]

    assert sign_flip_p(ratios) == pytest.approx(
        fmean(way >= far - 1e-6 for way in ways)
    )


def test_p_of_five_pairs_that_all_lose_as_much() -> None:
    """However much pairs differ from each other; surer one cannot be with five."""
    assert sign_flip_p([0.97] * 5) == pytest.approx(2 / 2**5)
    assert sign_flip_p([0.97] * 20) == pytest.approx(1 / 10_001)
    assert isnan(sign_flip_p([float("nan")]))


@settings(max_examples=30, deadline=None)
@given(st.lists(figures, min_size=1, max_size=12), st.integers(0, 5))
def test_intervals_are_those_that_numpy_finds(values: list[float], seed: int) -> None:
    """With the same draws, one line of numpy each."""
    array = np.array(values)
    picks = np.random.default_rng(seed).integers(0, len(array), (500, len(array)))
    for found, reduce in (
        (median_interval(values, seed=seed, resamples=500), np.median),
        (mean_interval(values, seed=seed, resamples=500), np.mean),
    ):
        low, high = np.percentile(reduce(array[picks], axis=1), [2.5, 97.5])
        assert found == pytest.approx((reduce(array), low, high, len(values)))
        assert min(values) <= found.low <= found.high <= max(values)


def test_an_interval_holds_the_truth_nearly_as_often_as_it_says() -> None:
    """Of means of 30, about 94 in 100: a percentile bootstrap is a little narrow."""
    chance = np.random.default_rng(2)
    held = [
        (found := mean_interval(chance.normal(7, 2, 30), resamples=400)).low
        <= 7
        <= found.high
        for _ in range(300)
    ]

    assert 0.89 <= fmean(held) <= 0.98


def test_the_same_runs_give_the_same_interval() -> None:
    """Or RESULTS.md would differ each time."""
    values = [3.0, 1.0, 4.0, 1.5, 9.0]

    assert median_interval(values) == median_interval(values)
    assert ratio_interval(values, [2.0, 2.5]) == ratio_interval(values, [2.0, 2.5])


def test_what_was_not_measured_is_no_run() -> None:
    """And nothing comes of nothing."""
    assert median_interval([1.0, float("nan"), 3.0]).runs == 2
    assert isnan(median_interval([]).middle)
    assert isnan(permutation_p([], [1.0]))
    assert ratio_interval([1.0], [0.0]).runs == 0


def test_a_ratio_is_one_of_medians() -> None:
    """Its interval is a point where neither side varies."""
    assert ratio_interval([6.0, 6.0], [2.0, 2.0, 2.0]) == (3.0, 3.0, 3.0, 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(figures, figures), min_size=2, max_size=9))
def test_a_slope_is_that_of_least_squares(points: list[tuple[float, float]]) -> None:
    """As numpy fits it; where all stand at one place there is none."""
    x, y = zip(*points, strict=True)
    if len(set(x)) == 1:
        assert isnan(slope(x, y))
    else:
        assert slope(x, y) == pytest.approx(np.polyfit(x, y, 1)[0], abs=1e-6)
