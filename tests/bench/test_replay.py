# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from observer.bench.replay import LIMITS, bench_replay, events_like
from observer.replay.judge import late_by


def test_the_same_seed_gives_the_same_events_and_some_are_late() -> None:
    """In order, of many debtors; a limit of nothing makes many late, ours few."""
    events = events_like(200_000)

    assert np.array_equal(events, events_like(200_000))
    assert (np.diff(events["ns"].astype("i8")) > 0).all()
    assert len(np.unique(events["slot"])) > 1000
    ours = len(late_by(events, LIMITS).slot)
    none = len(late_by(events, dict.fromkeys(LIMITS, 1)).slot)
    assert 0 < ours < none


def test_each_pass_is_kept() -> None:
    """The rate is that of the median one, and what is said of it follows."""
    found = bench_replay(50_000, passes=3)

    assert len(found.passes_s) == 3
    assert found.events == 50_000
    assert found.passed == (found.per_second >= 50e6)
