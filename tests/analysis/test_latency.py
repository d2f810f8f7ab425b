# SPDX-License-Identifier: Apache-2.0
"""Latency of requests, on rows whose figures are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from observer.analysis.latency import by_phase, per_run
from observer.clock import MS, SECOND

PERIOD_NS = 10 * MS


def asked(
    phases: list[str], latency_ms: list[float], run_id: str = "1"
) -> pd.DataFrame:
    """A request each 10 ms from 0 on; nan was lost."""
    return pd.DataFrame(
        {
            "design": "none",
            "run_id": run_id,
            "phase": phases,
            "intended_ns": np.arange(len(phases)) * PERIOD_NS,
            "latency_ns": np.array(latency_ms) * MS,
        }
    )


def fault(
    case: str, effect_ns: int, waited_ms: float, run_id: str = "1"
) -> pd.DataFrame:
    row = {"design": "none", "run_id": run_id, "case": case, "silent": False}
    return pd.DataFrame([{**row, "effect_ns": effect_ns, "waited_ms": waited_ms}])


def test_what_was_lost_came_later_than_all() -> None:
    """It counts as lost, and makes percentiles unknown rather than small."""
    latency = [1.0] * 100
    latency[40:60] = [float("nan")] * 20
    requests = asked(["calm"] * 20 + ["vmm-stop"] * 80, latency)
    cases = fault("vmm-stop", 20 * PERIOD_NS, 799.0)
    found = per_run(requests, cases).set_index("phase")

    assert found.loc["calm", ["requests", "lost", "p99_ms"]].tolist() == [20, 0, 1.0]
    assert found.loc["vmm-stop", ["requests", "lost"]].tolist() == [80, 20]
    assert np.isnan(found.loc["vmm-stop", "p99_ms"])
    assert found.loc["vmm-stop", "mean_ms"] == 1.0
    assert found.loc["vmm-stop", "longest_silence_ms"] == pytest.approx(210)


def test_a_fault_is_what_was_due_between_its_effect_and_its_end() -> None:
    """What was due before, and once it was undone, is left out."""
    requests = asked(["vmm-stop"] * 100, [1.0] * 30 + [200.0] * 20 + [1.0] * 50)
    found = per_run(requests, fault("vmm-stop", 30 * PERIOD_NS, 195.0))

    assert found["requests"].tolist() == [20]
    assert found["p95_ms"].tolist() == [200.0]
    assert found["longest_silence_ms"].tolist() == [pytest.approx(200)]


def test_a_silence_lasts_until_the_answer_that_ends_it() -> None:
    """Also if it comes after the fault's end; one that never ends, to that end."""
    none_came = asked(["vmm-stop"] * 50, [float("nan")] * 50)
    late = asked(["vmm-stop"] * 50, [900.0] * 50)
    cases = fault("vmm-stop", 0, 500.0)

    assert per_run(none_came, cases)["longest_silence_ms"].tolist() == [500.0]
    assert per_run(late, cases)["longest_silence_ms"].tolist() == [900.0]


def test_calm_ends_where_nobody_asks_for_a_while() -> None:
    """What is due after that, before a fault is told of, is due in no calm."""
    first = asked(["calm"] * 20, [1.0] * 20)
    later = first.assign(
        intended_ns=first["intended_ns"] + 5 * SECOND, latency_ns=800.0 * MS
    )
    found = per_run(pd.concat([later, first]), fault("vmm-stop", 9 * SECOND, 100.0))

    assert found["requests"].tolist() == [20]
    assert found["p99_ms"].tolist() == [1.0]
    assert found["longest_silence_ms"].tolist() == [pytest.approx(10)]


def test_nothing_is_known_over_runs_of_what_one_run_lost() -> None:
    """A median of the luckier ones would flatter."""
    well = asked(["calm"] * 20, [1.0] * 20)
    ill = asked(["calm"] * 20, [1.0] * 10 + [float("nan")] * 10, "2")
    cases = fault("vmm-stop", 9 * SECOND, 100.0)
    (found,) = by_phase(pd.concat([well, ill]), cases)

    assert found["p95_ms"].runs == 0
    assert found["mean_ms"].middle == 1.0
    assert (found["runs"], found["lost"]) == (2, 10)
