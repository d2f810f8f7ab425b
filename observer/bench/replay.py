# SPDX-License-Identifier: Apache-2.0
"""How fast a recording is judged again, on one core of this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observer.clock import MS, SECOND
from observer.replay.event import EVENT, Debt, What
from observer.replay.judge import late_by

if TYPE_CHECKING:
    from observer.replay.event import Events

__all__ = ["EVENTS", "PER_SECOND_MIN", "ReplayBench", "bench_replay", "events_like"]

EVENTS, PASSES = 10_000_000, 7
PER_SECOND_MIN = 50e6
SLOTS = 4096
STEP_NS = 500
LIMITS = {
    Debt.VCPU: 100 * MS,
    Debt.BACKEND: 20 * MS,
    Debt.CALLED: 50 * MS,
}


class ReplayBench(msgspec.Struct, frozen=True):
    """All passes, raw."""

    events: int
    first_s: float
    """With what it took to compile, or to load what was compiled."""
    passes_s: list[float]
    per_second: float
    """Of the median pass."""
    late: int
    passed: bool


def events_like(count: int, seed: int = 1) -> Events:
    """Events of many debtors, mixed as on a busy host; a few are late.

    Drawn with a seed: what a pass takes hangs on how the debtors are mixed, for their
    books are larger than a CPU's first cache.
    """
    chance = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events["debt"] = chance.choice(list(LIMITS), count)
    events["slot"] = chance.integers(0, SLOTS, count)
    events["what"] = chance.choice([What.OPENED, What.PAID, What.RENEWED], count)
    events["ns"] = SECOND + np.arange(count, dtype="u8") * STEP_NS
    events["clock_ns"] = events["ns"]
    return events


def bench_replay(count: int = EVENTS, passes: int = PASSES) -> ReplayBench:
    """Judge them again and again; the first pass compiles, or loads what was kept."""
    events, took_s, late = events_like(count), [], 0
    for _ in range(passes + 1):
        began_ns = time.monotonic_ns()
        late = len(late_by(events, LIMITS).slot)
        took_s.append((time.monotonic_ns() - began_ns) / SECOND)
    first_s, *rest = took_s
    per_second = count / float(np.median(rest))
    return ReplayBench(
        count,
        round(first_s, 3),
        [round(s, 4) for s in rest],
        round(per_second),
        late,
        per_second >= PER_SECOND_MIN,
    )
