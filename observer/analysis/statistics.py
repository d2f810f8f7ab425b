# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests over runs: percentile bootstrap and permutation, both seeded.

The unit is the run: what comes in here has one figure for each.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, product
from math import comb
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "NOTHING",
    "Interval",
    "least_p",
    "mean_interval",
    "median_interval",
    "permutation_p",
    "ratio_interval",
    "sign_flip_p",
    "slope",
]

SEED, RESAMPLES = 2020, 10_000
MOST_EXACT = 20_000
"""Up to so many ways to deal the runs to two designs, all are looked at."""
PERCENTILES = (2.5, 97.5)
CLOSE = 1e-9  # two medians as far apart as this are as far apart as each other

Array = npt.NDArray[Any]


class Interval(NamedTuple):
    """A figure, and the 95 % confidence interval about it."""

    middle: float
    low: float
    high: float
    runs: int


NOTHING = Interval(float("nan"), float("nan"), float("nan"), 0)


@njit(nogil=True, cache=True)
def _medians(values: Array, picks: Array) -> Array:
    """The median of each row of picks."""
    found = np.empty(len(picks))
    for row in range(len(picks)):
        found[row] = np.median(values[picks[row]])
    return found


@njit(nogil=True, cache=True)
def _means(values: Array, picks: Array) -> Array:
    found = np.empty(len(picks))
    for row in range(len(picks)):
        found[row] = np.mean(values[picks[row]])
    return found


@njit(nogil=True, cache=True)
def _as_far(pooled: Array, picks: Array, count: int) -> int:
    """How many rows set the sides as far apart as in `pooled`, where `count` are ours.

    Medians of a few runs tie often: of such rows the means decide.
    """
    far = abs(np.median(pooled[:count]) - np.median(pooled[count:]))
    far_mean = abs(np.mean(pooled[:count]) - np.mean(pooled[count:]))
    slack = CLOSE * np.max(np.abs(pooled))
    found = 0
    for row in range(len(picks)):
        ours, theirs = pooled[picks[row, :count]], pooled[picks[row, count:]]
        medians = abs(np.median(ours) - np.median(theirs))
        means = abs(np.mean(ours) - np.mean(theirs))
        if medians > far + slack or (
            medians >= far - slack and means >= far_mean - slack
        ):
            found += 1
    return found


def _clean(values: Iterable[float]) -> Array:
    """Without what was not measured."""
    array: Array = np.asarray(list(values), dtype=float)
    there: Array = array[~np.isnan(array)]
    return there


@lru_cache(maxsize=64)
def _picks(size: int, resamples: int, seed: int) -> Array:
    """The same for all that have so many runs."""
    picks: Array = np.random.default_rng(seed).integers(0, size, (resamples, size))
    return picks


def _between(middle: float, resampled: Array, runs: int) -> Interval:
    low, high = np.percentile(resampled, PERCENTILES)
    return Interval(float(middle), float(low), float(high), runs)


def median_interval(
    values: Iterable[float], *, seed: int = SEED, resamples: int = RESAMPLES
) -> Interval:
    """The median over runs; nan where there is none."""
    array = _clean(values)
    if not len(array):
        return NOTHING
    found = _medians(array, _picks(len(array), resamples, seed))
    return _between(np.median(array), found, len(array))


def mean_interval(
    values: Iterable[float], *, seed: int = SEED, resamples: int = RESAMPLES
) -> Interval:
    """The mean over runs; nan where there is none."""
    array = _clean(values)
    if not len(array):
        return NOTHING
    found = _means(array, _picks(len(array), resamples, seed))
    return _between(array.mean(), found, len(array))


def ratio_interval(
    over: Iterable[float],
    under: Iterable[float],
    *,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Interval:
    """The ratio of two medians; each side is resampled on its own."""
    above, below = _clean(over), _clean(under)
    if not len(above) or not len(below) or np.median(below) == 0:
        return NOTHING
    tops = _medians(above, _picks(len(above), resamples, seed))
    bottoms = _medians(below, _picks(len(below), resamples, seed + 1))
    some = bottoms != 0
    return _between(
        np.median(above) / np.median(below),
        tops[some] / bottoms[some],
        min(len(above), len(below)),
    )


@lru_cache(maxsize=64)
def _dealt(size: int, count: int, resamples: int, seed: int) -> tuple[Array, int]:
    """Ways to deal runs to two sides, and how many are added for the one that was."""
    if comb(size, count) <= MOST_EXACT:
        all_of_them = range(size)
        exact = [
            (*ours, *(i for i in all_of_them if i not in ours))
            for ours in combinations(all_of_them, count)
        ]
        return np.array(exact), 0
    rows = np.tile(np.arange(size), (resamples, 1))
    return np.random.default_rng(seed).permuted(rows, axis=1), 1


def permutation_p(
    ours: Iterable[float],
    theirs: Iterable[float],
    *,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> float:
    """How likely medians are so far apart if the design made no difference.

    Two-sided; over all ways to deal the runs where those are few, else over a sample.
    Equal differences of medians are told apart by those of means, without which five
    runs against five could give no p below 0.048.  nan where one side has none.
    """
    mine, other = _clean(ours), _clean(theirs)
    if not len(mine) or not len(other):
        return float("nan")
    pooled = np.concatenate([mine, other])
    picks, added = _dealt(len(pooled), len(mine), resamples, seed)
    found = _as_far(pooled, picks, len(mine))
    return float(found + added) / (len(picks) + added)


@lru_cache(maxsize=64)
def _flips(size: int, resamples: int, seed: int) -> tuple[Array, int]:
    """Ways to swap the sides of pairs, and how many are added for the one that was."""
    if 2**size <= MOST_EXACT:
        return np.array(list(product((1, -1), repeat=size))), 0
    drawn = np.random.default_rng(seed).choice([1, -1], (resamples, size))
    return drawn, 1


def sign_flip_p(
    ratios: Iterable[float], *, seed: int = SEED, resamples: int = RESAMPLES
) -> float:
    """How likely pairs differ so much on average if either side could be the other.

    Two-sided, by the geometric mean of the pairs' ratios; n pairs can give no p below
    2 / 2**n.  nan where there is none.
    """
    logs = np.log(np.maximum(_clean(ratios), np.finfo(float).tiny))
    if not len(logs):
        return float("nan")
    flips, added = _flips(len(logs), resamples, seed)
    far = abs(logs.sum())
    found = int((np.abs(flips @ logs) >= far - CLOSE * max(far, 1.0)).sum())
    return float(found + added) / (len(flips) + added)


def least_p(ours: int, theirs: int) -> float:
    """The smallest p that so many runs of two designs can give."""
    ways = comb(ours + theirs, ours)
    return min(1.0, (2 if ours == theirs else 1) / ways)


def slope(across: Iterable[float], up: Iterable[float]) -> float:
    """By least squares; nan where there is but one place."""
    x, y = np.asarray(list(across), float), np.asarray(list(up), float)
    x = x - x.mean() if len(x) else x
    spread = float((x * x).sum())
    return float((x * y).sum() / spread) if spread else float("nan")
