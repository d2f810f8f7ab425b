# SPDX-License-Identifier: Apache-2.0
"""Cost by design, and what implicit heartbeats save, on rows written by hand."""

from __future__ import annotations

from math import isnan

import pandas as pd
import pytest

from observer.analysis.cost import by_design, heartbeats, per_run, with_the_observed

NAMES = ("design", "run_id", "phase", "role", "cpu_ms", "rss_mib", "wakeups", "exits")


def frame(*rows: tuple) -> pd.DataFrame:
    found = pd.DataFrame([dict(zip(NAMES, row, strict=True)) for row in rows])
    return found.assign(seconds=10.0, host_vms=2)


COST = frame(
    ("vm-per-vm", "1", "idle", "responder", 100.0, 64.0, 50, None),
    ("vm-per-vm", "1", "idle", "responder", 140.0, 64.0, 70, None),
    ("vm-per-vm", "1", "idle", "vmm", 600.0, 200.0, 9000, None),
    ("vm-per-vm", "1", "idle", "host", None, None, None, 50_000),
    ("sleeping", "1", "idle", "observer", 10.0, 44.0, 6, None),
    ("sleeping", "1", "idle", "kernel", 5.0, None, None, None),
    ("none", "1", "idle", "vmm", 590.0, 200.0, 8000, None),
    ("watchdog-1s", "1", "idle", "observer", 1.0, 20.0, 1, None),
    ("watchdog-1s", "1", "idle", "vmm", 700.0, 200.0, 8000, None),
)


def test_a_designs_cost_is_all_that_it_runs() -> None:
    """A second, and a VM; of a BPF program the run time."""
    found = by_design(COST)
    responder = {name: its.middle for name, its in found["vm-per-vm"].items()}

    assert responder["cpu_ms_per_s"] == 24.0
    assert responder["cpu_ms_per_s_a_vm"] == 12.0
    assert (responder["rss_mib"], responder["rss_mib_a_vm"]) == (128.0, 64.0)
    assert responder["wakeups_per_s"] == 12.0
    assert found["sleeping"]["cpu_ms_per_s"].middle == 1.5
    assert found["sleeping"]["rss_mib"].middle == 44.0


def test_one_that_runs_nothing_costs_nothing() -> None:
    """But what nobody counted of the observed is not known."""
    own, observed = per_run(COST), per_run(COST, observed=True)

    assert own.set_index("design").loc["none", "cpu_ms_per_s"] == 0
    assert isnan(observed.set_index("design").loc["sleeping", "cpu_ms_per_s"])
    assert observed.set_index("design").loc["vm-per-vm", "exits_per_s"] == 5000


def test_all_told_is_what_the_host_takes_more_than_with_nobody() -> None:
    """Its own, and by how much more the observed take; unknown where those are."""
    found = with_the_observed(COST)

    assert found["vm-per-vm", "idle"].middle == pytest.approx(24 + 60 - 59)
    assert found["none", "idle"].middle == 0
    assert found["sleeping", "idle"].runs == 0
    assert ("watchdog-1s", "idle") not in found  # of another kernel in its guests


def test_what_implicit_beats_save_is_a_share_of_the_explicit() -> None:
    """13 % as Phoenix has it, where that is so."""
    cost = frame(
        *(
            (design, f"{run}", "idle", "observer", cpu_ms, 30.0, 1, None)
            for run in range(4)
            for design, cpu_ms in (
                ("phoenix-5ms", 87.0),
                ("phoenix-explicit-5ms", 100.0),
            )
        )
    )
    cases = pd.DataFrame(
        columns=["design", "case", "run_id", "silent", "detected", "detection_ms"]
    ).assign(waited_ms=0.0)
    (found,) = heartbeats(cases, cost)

    assert found["period"] == "5 ms"
    assert found["less"].middle == pytest.approx(0.13)
    assert found["p"] == pytest.approx(2 / 70)
