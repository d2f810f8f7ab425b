# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from observer.experiment.writers import Succession


def wrong(order: list[int], alive: set[int]) -> int:
    succession = Succession(alive.__contains__)
    for pid in order:
        succession.wrote(pid)
    return succession.wrong


def test_one_after_the_other_is_right() -> None:
    """Each had ended before the next one wrote."""
    assert wrong([1, 1, 2, 2, 3], alive={3}) == 0


def test_one_beside_a_living_one_is_wrong() -> None:
    """The last one could still write."""
    assert wrong([1, 2], alive={1, 2}) == 1


def test_one_that_writes_again_is_wrong() -> None:
    """Dead by now or not: it wrote after its successor."""
    assert wrong([1, 2, 1], alive=set()) == 1
