# SPDX-License-Identifier: Apache-2.0
"""A claim is said to hold only where the data say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.analysis import checks
from observer.analysis.checks import all_checks

if TYPE_CHECKING:
    import pandas as pd

    from observer.analysis.results import Study


@pytest.fixture
def cases(study: Study) -> pd.DataFrame:
    return study.runs.of("cases", "detection").copy()


def test_one_that_is_sooner_than_ours_is_named(cases: pd.DataFrame) -> None:
    """With its figures: in the made-up study pvpanic is."""
    found = checks.sooner_than_all(cases, "sleeping", "detection")

    assert found.holds is False
    assert found.figures.startswith("guest-panic: pvpanic ")
    without = cases[cases["design"] != "pvpanic"]
    assert checks.sooner_than_all(without, "sleeping", "detection").holds is True


def test_one_missed_fault_is_one_too_many(cases: pd.DataFrame) -> None:
    """Of one run of all."""
    assert checks.nothing_missed(cases, "sleeping", "detection").holds is True
    mine = (cases["design"] == "sleeping") & (cases["case"] == "vmm-stop")
    cases.loc[cases[mine].index[0], "detected"] = False
    found = checks.nothing_missed(cases, "sleeping", "detection")

    assert (found.holds, found.figures) == (False, "vmm-stop missed in 1 of 3 runs")


def test_one_false_verdict_is_one_too_many(cases: pd.DataFrame) -> None:
    """Wherever it was given."""
    assert checks.no_false_verdict(cases, "sleeping", "detection").holds is True
    mine = (cases["design"] == "sleeping") & (cases["case"] == "busy")
    cases.loc[cases[mine].index[0], "wrong_verdicts"] = 1
    found = checks.no_false_verdict(cases, "sleeping", "detection")

    assert (found.holds, found.figures) == (False, "1 in busy")


def test_one_that_is_dead_is_not_praised_for_its_silence(cases: pd.DataFrame) -> None:
    """Its own crash is no silent case; what it says after it stood still counts."""
    whole = checks.no_false_verdict(cases, "sleeping", "detection")
    dead = (cases["design"] == "sleeping") & (cases["case"] == "observer-crash")
    silent = cases.assign(silent=cases["silent"] | dead)
    assert checks.no_false_verdict(silent, "sleeping", "detection") == whole
    stopped = (cases["design"] == "sleeping") & (cases["case"] == "observer-stop")
    cases.loc[cases[stopped].index[0], "wrong_verdicts"] = 1
    found = checks.no_false_verdict(cases, "sleeping", "detection")

    assert (found.holds, found.figures) == (False, "1 in observer-stop")


def test_cost_is_held_against_polling_and_against_a_vm_for_each(study: Study) -> None:
    """The latter where there were two VMs or more."""
    costs = study.runs.of("cost", "detection")

    assert checks.less_cpu_than_polling(costs, "sleeping").holds is True
    cpu, memory = checks.less_than_responder(costs, "sleeping")
    assert cpu.holds is memory.holds is True
    assert "at 3 VMs" in memory.figures
    alone = costs.assign(host_vms=1)
    assert [c.holds for c in checks.less_than_responder(alone, "sleeping")] == [
        None
    ] * 2
    dear = costs.assign(cpu_ms=costs["cpu_ms"].where(costs["role"] != "observer", 1e6))
    assert checks.less_than_responder(dear, "sleeping")[0].holds is False


def test_wake_ups_that_grow_are_told(study: Study) -> None:
    """By what the steepest run adds up to the largest size."""
    scale = study.runs.of("scale", "scale")

    assert checks.no_more_wakeups(scale, "sleeping").holds is True
    grown = scale.assign(wakeups=scale["wakeups"] + scale["vms"])
    assert checks.no_more_wakeups(grown, "sleeping").holds is False
    assert checks.no_more_wakeups(scale, "scanning").holds is None


def test_memory_that_grows_ever_faster_is_told(study: Study) -> None:
    """Its slope and its bend are told in any case."""
    scale = study.runs.of("scale", "scale")

    found = checks.memory_grows_straight(scale, "sleeping")
    assert "KiB a VM" in found.figures
    square = scale.assign(rss_mib=40 + scale["vms"].astype(float) ** 2 / 1e4)
    assert checks.memory_grows_straight(square, "sleeping").holds is False
    line = scale.assign(rss_mib=40 + scale["vms"] / 1024)
    straight = checks.memory_grows_straight(line, "sleeping")
    assert straight.figures.startswith("1.00 KiB a VM; 1.00 up to")
    assert checks.memory_grows_straight(scale, "scanning").holds is None


def test_all_claims_of_the_study_are_made(study: Study) -> None:
    """Of the default design all, also those that nobody measured."""
    said = " ".join(check.claim for check in all_checks(study.runs))

    for words in (
        "no fault is missed (services)",
        "no false verdict (detection)",
        "sooner than every other design on every fault that it can see (detection)",
        "less CPU time than polling-100ms",
        "less memory than vm-per-vm from 2 VMs on",
        "no more wake-ups for more quiet VMs",
    ):
        assert f"sleeping: {words}" in said
