# SPDX-License-Identifier: Apache-2.0
"""In what order designs and faults take their turns; pure.

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

__all__ = ["Turn", "turns"]


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
