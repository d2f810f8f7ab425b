# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.experiment.plan import bar, sittings, turns

FACED = {
    "fg": ("nic-hang", "kill"),
    "cg": ("nic-hang", "kill"),
    "linux": ("kill",),
    "idle": (),
}


@given(st.integers(1, 5), st.integers())
def test_each_round_has_each_pair_once(rounds: int, seed: int) -> None:
    """Whatever the seed: all faults of all designs, and nothing that none faces."""
    order = turns(FACED, rounds, seed)

    pairs = Counter((t.round, t.design, fault) for t in order for fault in t.faults)
    wanted = {
        (turn, design, fault)
        for turn in range(rounds)
        for design, faults in FACED.items()
        for fault in faults
    }
    assert set(pairs) == wanted
    assert set(pairs.values()) == {1}


@given(st.integers(2, 6), st.integers())
def test_rounds_follow_each_other(rounds: int, seed: int) -> None:
    """None begins before the last one has ended."""
    order = [turn.round for turn in turns(FACED, rounds, seed)]

    assert order == sorted(order)


def test_a_seed_is_an_order() -> None:
    """The same again with the same seed, another with some other."""
    orders = [turns(FACED, 5, seed) for seed in range(9)]

    assert orders == [turns(FACED, 5, seed) for seed in range(9)]
    assert any(order != orders[0] for order in orders)


DESIGNS = {"detection": ("none", "polling", "ours"), "scale": ("ours",)}


@given(st.integers(1, 6), st.integers(0, 99))
def test_a_study_has_each_design_once_a_run(runs: int, seed: int) -> None:
    """All first runs before any second, and one seed for all designs of a run."""
    order = sittings(DESIGNS, runs, seed)

    assert [s.run for s in order] == sorted(s.run for s in order)
    assert Counter((s.experiment, s.design, s.run) for s in order) == Counter(
        (experiment, design, run)
        for experiment, designs in DESIGNS.items()
        for design in designs
        for run in range(runs)
    )
    assert len({(s.run, s.seed) for s in order}) == runs


@given(st.integers(0, 99))
def test_each_second_run_is_turned_round(seed: int) -> None:
    """Who came early in one comes late in the next."""
    order = [s for s in sittings(DESIGNS, 2, seed) if s.experiment == "detection"]

    first, second = ([s.design for s in order if s.run == run] for run in (0, 1))
    assert second == first[::-1]


@pytest.mark.parametrize(
    ("done", "took_s", "said"),
    [
        (0, 0.0, "[....................] 0 of 4"),
        (1, 60.0, "[#####...............] 1 of 4, 3 min left"),
        (2, 7200.0, "[##########..........] 2 of 4, 2 h 0 min left"),
        (4, 90.0, "[####################] 4 of 4"),
    ],
)
def test_how_far_it_has_come(done: int, took_s: float, said: str) -> None:
    """Drawn, counted, and with the time that the rest will take at this pace."""
    assert bar(done, 4, took_s) == said
