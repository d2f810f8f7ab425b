# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from experiment_program import program

from observer.analysis.cost import OTHER_KERNEL
from observer.config import load
from observer.experiment.cases import CASES
from observer.experiment.designs import DESIGNS, faults_of, offers
from observer.experiment.faults import FAULTS
from observer.experiment.observers import BLIND_SECONDS, DETECTION, SERVICES


@pytest.mark.parametrize("name", [n for n, d in DESIGNS.items() if d.policy])
def test_a_policy_is_one_that_the_observer_takes(name: str, tmp_path: Path) -> None:
    """It mends both services and touches nobody else."""
    file = tmp_path / "observer.toml"
    file.write_text(DESIGNS[name].policy or "")

    repair = load(file).repair

    assert repair.mends("net")
    assert repair.mends("disk")
    assert not repair.mends("study")


@pytest.mark.parametrize("name", [n for n, d in DESIGNS.items() if d.comparator])
def test_a_comparator_is_a_program(name: str) -> None:
    """With a main, and beside it a README of what it was rebuilt from."""
    module = program(DESIGNS[name].comparator)

    assert callable(module.main)
    assert module.__doc__
    assert (Path(module.__file__ or "").parent / "README.md").exists()


def test_a_design_is_offered_with_the_faults_that_it_can_face() -> None:
    """Each of them is one of its experiment's."""
    assert {o.design for o in offers()} == set(DESIGNS)
    for offer in offers():
        assert set(offer.faults) <= set(FAULTS[offer.experiment])


def test_faults_that_are_named_are_the_only_ones() -> None:
    """Who does not face them faces none."""
    assert faults_of("net-failure", ["fg", "linux-vm"], ["nic-hang"]) == {
        "fg": ("nic-hang",),
        "linux-vm": (),
    }


def test_what_a_design_cannot_see_is_waited_for_no_longer_than_by_most() -> None:
    """And what it can, for as long as its rule may take."""
    slow = DETECTION["polling-10s"]
    assert slow.patience_with_s("vmm-stop") == slow.patience_s > 30
    assert slow.patience_with_s("guest-panic") == BLIND_SECONDS
    for name in ("watchdog-30s", "pvpanic", "polling-10s"):
        its = DETECTION[name]
        assert its.patience_with_s("vmm-crash") == its.patience_s
    assert DETECTION["sleeping"].patience_with_s("guest-panic") == 10.0
    for design in DETECTION.values():
        assert set(design.sees) <= set(CASES)
        if design.patience_s > BLIND_SECONDS and design.daemon is None:
            assert design.sees or not design.program


def test_sums_with_the_observed_leave_out_guests_of_another_kernel() -> None:
    """What is compared with guests beside nobody has their kernel."""
    kernel = DETECTION["none"].flavour
    others = {name for name, its in DETECTION.items() if its.flavour != kernel}

    assert set(OTHER_KERNEL) == others


STUDIED = (*DETECTION.values(), *SERVICES.values())


@pytest.mark.parametrize("file", sorted({d.program[0] for d in STUDIED if d.program}))
def test_a_design_is_a_program_with_a_readme(file: str) -> None:
    """Which tells whose it is."""
    module = program(file)

    assert module.__doc__
    assert (Path(module.__file__ or "").parent / "README.md").exists()
