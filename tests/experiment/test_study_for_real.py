# SPDX-License-Identifier: Apache-2.0
"""A slice of the study beside live guests, and what is read from what it leaves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from observer.analysis.runs import read_runs
from observer.analysis.tradeoff import frame_of, read_recordings
from observer.experiment.detection import Course
from observer.experiment.plan import Sitting
from observer.experiment.play import folder_of, play, prepare

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.nested,
    pytest.mark.vm,
    pytest.mark.newest,
    pytest.mark.timeout(400),
]

PERIOD_MS = 100.0
STILL = Course((), ("busy",), observer_faults=False, calm_s=2.0)
SHORT = Course(("vmm-crash", "guest-irqoff-spin"), ("idle",), calm_s=2.0)


def test_two_designs_see_what_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours sees both, within one poll; one that polls cannot see into a guest."""
    monkeypatch.setattr("observer.experiment.play.QUICK_COURSE", SHORT)
    for design in ("polling-100ms", "sleeping"):
        sitting = Sitting("detection", 0, design, 7)
        prepare(sitting, sys.stderr.write)
        play(tmp_path, sitting, "tried", sys.stderr.write, quick=True)
        assert (folder_of(tmp_path, sitting) / "run.json").exists()

    runs = read_runs([tmp_path])
    cases = runs.of("cases", "detection").set_index(["design", "case"])
    assert bool(cases.loc[("sleeping", "vmm-crash"), "detected"].all())
    assert bool(cases.loc[("sleeping", "guest-irqoff-spin"), "detected"].all())
    assert bool(cases.loc[("polling-100ms", "vmm-crash"), "detected"].all())
    assert not cases.loc[("polling-100ms", "guest-irqoff-spin"), "detected"].any()
    crash = cases.xs("vmm-crash", level="case")["detection_ms"]
    assert crash["sleeping"] < PERIOD_MS  # who polls may look just after it
    ours = cases.loc["sleeping"]
    wrong = ours[ours["wrong_verdicts"] > 0]
    assert wrong.empty, wrong[["kind", "subject", "evidence"]].to_string()
    assert cases["unharmed"].dropna().all()
    asked = runs.of("requests", "detection")
    assert len(asked) > 50
    assert asked["latency_ns"].notna().mean() > 0.9
    cost = runs.of("cost", "detection")
    assert set(cost["role"]) >= {"observer", "vmm", "back-end", "kernel", "host"}


def test_a_recording_is_kept_of_a_run_in_which_nothing_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, and of the debts that two guests at work have."""
    monkeypatch.setattr("observer.experiment.play.QUICK_QUIET", STILL)
    sitting = Sitting("tradeoff", 0, "sleeping", 7)
    prepare(sitting, sys.stderr.write)
    play(tmp_path, sitting, "tried", sys.stderr.write, quick=True)

    cases = read_runs([tmp_path]).of("cases", "tradeoff")
    assert set(cases["case"]) == {"boot", "idle", "load", "asked", "busy"}
    wrong = cases[cases["wrong_verdicts"] > 0]
    assert wrong.empty, wrong[["kind", "subject", "evidence"]].to_string()
    (recording,) = read_recordings([tmp_path])
    assert recording.name == "tradeoff/00-sleeping"
    assert recording.lost == 0
    assert recording.seconds > sum(cases["waited_ms"]) / 1000
    limits = frame_of([recording])
    assert {"vcpu", "backend", "called"} <= set(limits["debt"])
    shortest = limits[limits["limit_ms"] == limits["limit_ms"].min()]
    assert (shortest["for_nothing"] > 0).any()
