# SPDX-License-Identifier: Apache-2.0
"""Detection, false verdicts and the observer's own faults, on rows written by hand."""

from __future__ import annotations

from math import isnan
from typing import Any

import pandas as pd
import pytest

from observer.analysis.detection import (
    against,
    by_fault,
    observer_faults,
    per_run,
    silence,
)
from observer.analysis.detection_tables import detection_section


def row(design: str, run: int, case: str, ms: float | None, **more: Any) -> dict:
    return {
        "design": design,
        "run_id": f"{run}-{design}",
        "case": case,
        "silent": False,
        "detected": ms is not None,
        "detection_ms": ms,
        "waited_ms": 60_000.0 if ms is None else ms,
        "wrong_verdicts": 0,
        "unharmed": None,
        **more,
    }


CASES = pd.DataFrame(
    [
        *(row("sleeping", run, "vmm-crash", 10.0 + run) for run in range(5)),
        *(row("polling-1s", run, "vmm-crash", 1000.0 + run) for run in range(3)),
        *(row("polling-1s", run, "vmm-crash", None) for run in range(3, 5)),
        *(row("pvpanic", run, "vmm-crash", None) for run in range(5)),
        *(row("sleeping", run, "guest-panic", 50.0) for run in range(5)),
    ]
)


def test_medians_are_over_the_runs_that_saw_it() -> None:
    """And how many those were stands beside."""
    found = by_fault(CASES).set_index(["case", "design"])

    assert found.loc[("vmm-crash", "sleeping"), "median_ms"] == 12.0
    assert found.loc[("vmm-crash", "polling-1s"), "median_ms"] == 1001.0
    assert tuple(found.loc[("vmm-crash", "polling-1s"), ["runs", "seen"]]) == (5, 3)
    assert isnan(found.loc[("vmm-crash", "pvpanic"), "median_ms"])
    assert ("guest-panic", "pvpanic") not in found.index


def test_a_run_is_one_figure_however_often_it_tells_it() -> None:
    """Three times in one run do not make three runs; missed once is missed."""
    twice = pd.DataFrame([row("sleeping", 1, "vmm-crash", ms) for ms in (1, 2, 9)])
    one = per_run(twice)

    assert one["detection_ms"].tolist() == [2.0]
    missed = pd.DataFrame([row("sleeping", 1, "vmm-crash", ms) for ms in (1, None)])
    assert not per_run(missed)["seen"].item()
    assert isnan(per_run(missed)["detection_ms"].item())


def test_a_run_that_missed_counts_as_one_that_took_longer() -> None:
    """In the test alone: the ratio is one of medians of those that saw it."""
    pairs = against(CASES, "sleeping").set_index("design")

    assert list(pairs.index) == ["polling-1s"]
    assert pairs.loc["polling-1s", "ratio"] == pytest.approx(1001 / 12)
    assert pairs.loc["polling-1s", "p"] == pytest.approx(2 / 252)


def test_what_was_seen_in_no_run_is_a_word() -> None:
    """What was not faced is another."""
    section = detection_section(CASES, "Detection", "")
    assert section is not None
    rows = {cells[0]: cells[1:3] for cells in section.tables[0].rows}

    assert section.tables[0].columns[1:3] == ("vmm-crash", "guest-panic")
    assert rows["sleeping"] == ("12.0", "50.0")
    assert rows["polling-1s"] == ("1,001 (3/5)", "–")  # noqa: RUF001 - the dash is it
    assert rows["pvpanic"][0] == "missed"


def test_false_verdicts_are_counted_where_they_were_given() -> None:
    """An hour of silence with none leaves less than three an hour."""
    quiet = {"silent": True, "waited_ms": 3_600_000.0}
    cases = pd.DataFrame(
        [
            row("sleeping", 1, "idle", None, **quiet),
            row("pvpanic", 1, "idle", None, **quiet),
            row("pvpanic", 1, "paused", None, **{**quiet, "wrong_verdicts": 2}),
            row("pvpanic", 1, "vmm-crash", 5.0, wrong_verdicts=1),
        ]
    )
    found = silence(cases).set_index("design")

    assert found.loc["sleeping", "false"] == 0
    assert found.loc["sleeping", "at_most_per_hour"] == pytest.approx(3.0)
    assert found.loc["pvpanic", ["false", "in_cases", "beside_faults"]].tolist() == [
        2,
        "paused",
        1,
    ]
    assert isnan(found.loc["pvpanic", "at_most_per_hour"])


def test_the_observers_own_faults_are_no_faults_of_guests() -> None:
    """They count by whom they harmed, and by what was said of healthy guests.

    Where nobody looked they do not count.
    """
    cases = pd.DataFrame(
        [
            row("sleeping", 1, "observer-crash", None, unharmed=True),
            row(
                *("sleeping", 2, "observer-crash", None),
                unharmed=False,
                wrong_verdicts=3,
            ),
            row("none", 1, "observer-crash", None, unharmed=None),
        ]
    )
    found = observer_faults(cases)

    assert by_fault(cases).empty
    assert found[["design", "runs", "unharmed", "false"]].to_numpy().tolist() == [
        ["sleeping", 2, 1, 3]
    ]
