# SPDX-License-Identifier: Apache-2.0
"""Overhead, on rows whose ratios are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from observer.analysis.overhead import overhead

MISSING = dict.fromkeys(("mean_ms", "p50_ms", "p95_ms", "p99_ms"), np.nan)


def rows_of(per_s: dict[str, list[list[float]]]) -> pd.DataFrame:
    """By design, boot and turn."""
    rows: list[dict[str, Any]] = [
        {
            "workload": "redis",
            "unit": "operations/s",
            "design": design,
            "boot": str(boot),
            "turn": turn,
            "throughput": throughput,
            "observer_cpu_ms": 10.0,
            "guest_exits": 1000,
            "seconds": 10.0,
        }
        for design, boots in per_s.items()
        for boot, turns in enumerate(boots)
        for turn, throughput in enumerate(turns)
    ]
    return pd.DataFrame(rows).assign(**MISSING)


def test_an_overhead_is_a_ratio_to_none_in_the_same_boot() -> None:
    """Boots that differ threefold hide no 3 percent, and turns there and back none."""
    none = [[1000.0 * k, 900.0 * k] for k in (1, 2, 3, 1.5, 2.5)]
    drifting = [[0.97 * turn for turn in turns] for turns in none]
    found = {
        r["design"]: r for r in overhead(rows_of({"none": none, "sleeping": drifting}))
    }

    ratio = found["sleeping"]["throughput_ratio"]
    assert ratio == pytest.approx((0.97, 0.97, 0.97, 5))
    assert found["sleeping"]["throughput_p"] == pytest.approx(2 / 32)
    assert found["sleeping"]["observer_cpu_ms_per_s"].middle == pytest.approx(1)
    assert found["sleeping"]["p99_ms"].runs == 0


def test_none_is_not_compared_with_itself() -> None:
    """Nor is a design with a boot in which `none` had no turn."""
    table = rows_of({"none": [[1000.0]], "sleeping": [[990.0], [500.0]]})
    found = {r["design"]: r for r in overhead(table)}

    assert found["none"]["throughput_ratio"].runs == 0
    assert np.isnan(found["none"]["throughput_p"])
    assert found["sleeping"]["throughput_ratio"] == pytest.approx((0.99,) * 3 + (1,))
    assert found["sleeping"]["boots"] == 2
