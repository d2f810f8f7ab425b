# SPDX-License-Identifier: Apache-2.0
"""Latency, overhead and growth, on rows whose figures are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from observer.analysis.growth import bends, slopes
from observer.analysis.loads import latency_per_run, overhead
from observer.clock import MS


def test_latency_is_of_a_run_and_of_what_was_answered() -> None:
    """Lost ones count as lost; the longest silence is between two answers."""
    intended = np.arange(100) * 10 * MS
    latency = np.full(100, 1.0 * MS)
    latency[40:60] = np.nan
    requests = pd.DataFrame(
        {
            "design": "none",
            "run_id": "1",
            "phase": ["calm"] * 20 + ["backend-hang"] * 80,
            "intended_ns": intended,
            "latency_ns": latency,
        }
    )
    found = latency_per_run(requests).set_index("when")

    assert found.loc["calm", ["requests", "lost"]].tolist() == [20, 0]
    assert found.loc["faults", ["requests", "lost"]].tolist() == [80, 20]
    assert found.loc["faults", "p99_ms"] == 1.0
    assert found.loc["faults", "longest_silence_ms"] == pytest.approx(210)


def test_it_is_no_silence_while_nobody_asks() -> None:
    """The first request of another asking is due before its phase begins."""
    intended = np.append(np.arange(20), 5_000) * 10 * MS
    requests = pd.DataFrame(
        {
            "design": "none",
            "run_id": "1",
            "phase": "calm",
            "intended_ns": intended,
            "latency_ns": np.full(21, 1.0 * MS),
        }
    )
    found = latency_per_run(requests)

    assert found["longest_silence_ms"].tolist() == [pytest.approx(10)]


def test_an_overhead_is_a_ratio_to_none() -> None:
    """Of the medians of runs, each the median of its turns."""
    rows = [
        {
            "workload": "redis",
            "unit": "operations/s",
            "design": design,
            "run_id": f"{run}{design}",
            "turn": turn,
            "throughput": float(per_s),
            "observer_cpu_ms": 10.0,
            "guest_exits": 1000,
            "seconds": 10.0,
        }
        for run in range(4)
        for turn in range(3)
        for design, per_s in (("none", 1000), ("sleeping", 967 if turn else 1))
    ]
    missing = dict.fromkeys(("mean_ms", "p50_ms", "p95_ms", "p99_ms"), np.nan)
    found = {r["design"]: r for r in overhead(pd.DataFrame(rows).assign(**missing))}

    assert found["sleeping"]["throughput_ratio"].middle == pytest.approx(0.967)
    assert found["sleeping"]["throughput_p"] == pytest.approx(2 / 70)
    assert found["none"]["throughput_p"] == 1.0
    assert found["sleeping"]["p99_ms"].runs == 0


def test_growth_is_of_quiet_vms_alone() -> None:
    """11 KiB a VM is found again, and no wake-ups are."""
    rows = [
        {
            "design": "sleeping",
            "run_id": f"{run}",
            "vms": vms,
            "late_share": late,
            "wakeups": 40 + 1000 * vms * late,
            "cpu_ms": 9.0 + vms * late,
            "rss_mib": 44.0 + run + vms * 11 / 1024,
            "suspicions": 0,
            "seconds": 10.0,
        }
        for run in range(3)
        for vms in (10, 100, 1000)
        for late in (0.0, 0.1)
    ]
    found = slopes(pd.DataFrame(rows))["sleeping"]

    assert found["rss_mib"].middle == pytest.approx(11 / 1024)
    assert found["wakeups_per_s"].middle == pytest.approx(0)
    assert bends(pd.DataFrame(rows))["sleeping"].middle == pytest.approx(0, abs=1e-9)
