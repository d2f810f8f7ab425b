# SPDX-License-Identifier: Apache-2.0
"""In what order designs and faults take their turns, and runs their sittings; pure.

Slow drift of a host must not look like a design: each round has all of them, designs in
an order of its own, and so have the faults within a design.  A design has its faults of
a round in one go, for to set it up takes longer than a run.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Sitting", "Turn", "bar", "sittings", "turns"]

BAR_CHARACTERS = 20
MINUTE, HOUR = 60, 3600


class Turn(msgspec.Struct, frozen=True):
    """A design's part of a round."""

    round: int
    design: str
    faults: tuple[str, ...]


def turns(faults: Mapping[str, Sequence[str]], rounds: int, seed: int) -> list[Turn]:
    """All turns; `faults` are those that each design can face."""
    chance = random.Random(seed)  # noqa: S311 - no secret: it must be repeatable
    order = []
    for turn in range(rounds):
        designs = [name for name, its in faults.items() if its]
        chance.shuffle(designs)
        for name in designs:
            its = list(faults[name])
            chance.shuffle(its)
            order.append(Turn(turn, name, tuple(its)))
    return order


class Sitting(msgspec.Struct, frozen=True):
    """One run: a boot of the host with one design."""

    experiment: str
    run: int
    design: str
    seed: int
    """Of the order of what it is taken through; the same for all designs of a run."""
    workload: str = "idle"


def sittings(
    designs: Mapping[str, Sequence[str]], runs: int, seed: int
) -> list[Sitting]:
    """All runs of all experiments, the first of each before the second of any.

    So what there is after any time compares.  Each second run has the order of the one
    before turned round: who came early then comes late now.
    """
    order = []
    for run in range(runs):
        for experiment, names in designs.items():
            chance = random.Random(f"{seed} {experiment} {run // 2}")  # noqa: S311
            mixed = list(names)
            chance.shuffle(mixed)
            if run % 2:
                mixed.reverse()
            own = seed * 1000 + run
            order += [Sitting(experiment, run, name, own) for name in mixed]
    return order


def _time(seconds: float) -> str:
    if seconds >= HOUR:
        return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
    return f"{max(1, round(seconds / MINUTE))} min"


def bar(done: int, total: int, took_s: float) -> str:
    """How far it has come, and how long it will take from here at the same pace."""
    full = BAR_CHARACTERS * done // max(1, total)
    drawn = f"[{'#' * full}{'.' * (BAR_CHARACTERS - full)}] {done} of {total}"
    if not done or done == total:
        return drawn
    return f"{drawn}, {_time(took_s / done * (total - done))} left"
