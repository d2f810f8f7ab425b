# SPDX-License-Identifier: Apache-2.0
"""Compare arms by interleaved runs: the order, and what the samples say.

The unit is one run: a tool started anew and one guest beside it, whose exits come in
batches.  What else runs on the machine only ever adds time, so an arm's figure is the
lowest tenth of its batches, over all runs: there nobody else was.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from observer.bench.tool import Arm

__all__ = ["BASE", "Row", "Sample", "interleaved", "lowest_tenth", "rows_of", "saw_all"]

BASE = "none"
MOST_OTHER_EXITS = 1.5
"""Whoever counts sees the guest's other exits too, timers and its waiting."""


class Sample(msgspec.Struct, frozen=True):
    """One run."""

    arm: str
    round: int
    exits: int
    batch_ns: list[int]
    """Each of an equal share of the exits."""

    counted: int | None
    """What the tool itself counted; None where it cannot tell."""

    @property
    def batch_ns_per_exit(self) -> list[float]:
        """What an exit took, in each batch."""
        return [ns * len(self.batch_ns) / self.exits for ns in self.batch_ns]


class Row(msgspec.Struct, frozen=True):
    """What one arm costs; None where it was left out, and `left_out` says why."""

    arm: str
    does: str
    runs: int = 0
    ns_per_exit: float | None = None
    """The lowest tenth of the batches, and what is compared."""

    ratio: float | None = None
    added_ns_per_exit: float | None = None
    median_ns_per_exit: float | None = None
    counted_all: bool | None = None
    left_out: str | None = None


def interleaved(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Give rounds of all arms, every second one backwards: drift hits all alike."""
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            yield turn, name


def saw_all(sample: Sample) -> bool | None:
    """Whether the tool saw the guest's exits, and not twice as many."""
    if sample.counted is None:
        return None
    return sample.exits <= sample.counted <= MOST_OTHER_EXITS * sample.exits


def _ns_per_exit(samples: Sequence[Sample], arm: str) -> list[float]:
    return [ns for s in samples if s.arm == arm for ns in s.batch_ns_per_exit]


def lowest_tenth(values: Sequence[float]) -> float:
    """Give the value that a tenth of them, at least one, does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) / 10) - 1)]


def _row(arm: Arm, samples: Sequence[Sample], base: float) -> Row:
    costs = _ns_per_exit(samples, arm.name)
    if arm.left_out or not costs:
        return Row(arm.name, arm.does, left_out=arm.left_out or "it never ran")
    cost = lowest_tenth(costs)
    runs = sum(s.arm == arm.name for s in samples)
    saw = [saw_all(s) for s in samples if s.arm == arm.name]
    return Row(
        arm.name,
        arm.does,
        runs,
        round(cost, 1),
        round(cost / base, 3),
        round(cost - base, 1),
        round(statistics.median(costs), 1),
        None if None in saw else all(saw),
    )


def rows_of(arms: Sequence[Arm], samples: Sequence[Sample]) -> list[Row]:
    """Give one row per arm, compared with the one without a tool."""
    base = lowest_tenth(_ns_per_exit(samples, BASE))
    return [_row(arm, samples, base) for arm in arms]
