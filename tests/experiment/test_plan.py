# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from observer.experiment.plan import turns

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
