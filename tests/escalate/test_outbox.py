# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.errors import HostError
from observer.escalate.alert import Letter
from observer.escalate.outbox import KEPT_SECONDS, MOST_LETTERS, Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B = ("http://a",), ("/bin/b", "-x")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.db")
    yield made
    made.close()


def bodies(outbox: Outbox, now: float) -> list[str]:
    return sorted(letter.body for _, letter in outbox.due(now))


def test_each_address_gets_its_letters_in_order(outbox: Outbox) -> None:
    """The second when the first is delivered."""
    outbox.put([Letter(A, "a1"), Letter(B, "b1")], 0)
    outbox.put([Letter(A, "a2")], 1)
    assert bodies(outbox, 1) == ["a1", "b1"]

    outbox.done(outbox.due(1)[0][0])
    assert bodies(outbox, 1) == ["a2", "b1"]


def test_who_cannot_be_reached_holds_up_nobody_else(outbox: Outbox) -> None:
    """Its own letters keep their order; the pauses grow, up to five minutes."""
    outbox.put([Letter(A, "a1"), Letter(A, "a2"), Letter(B, "b1")], 0)
    number = next(n for n, letter in outbox.due(0) if letter.body == "a1")
    pauses = []
    now = 0.0
    for _ in range(12):
        outbox.put_off(number, now)
        assert bodies(outbox, now) == ["b1"]
        outbox_due = outbox.due(now + 301)
        assert sorted(x.body for _, x in outbox_due) == ["a1", "b1"]
        pauses.append(first_due(outbox, now) - now)
        now += 1000

    assert pauses[:4] == [2, 4, 8, 16]
    assert max(pauses) == pauses[-1] == 300


def first_due(outbox: Outbox, now: float) -> float:
    """When the letter that was put off comes: the other one is due all the time."""
    return next(now + s for s in range(302) if "a1" in bodies(outbox, now + s))


def test_letters_outlive_who_wrote_them(outbox: Outbox, tmp_path: Path) -> None:
    """The next one finds them."""
    outbox.put([Letter(A, "a1")], 5)

    after = Outbox(tmp_path / "outbox.db")
    assert after.next_due() == 5
    assert bodies(after, 5) == ["a1"]
    after.close()


def test_nothing_waits_for_ever(outbox: Outbox) -> None:
    """Neither longer than a day, nor more than so many."""
    outbox.put([Letter(A, "old")], 0)
    outbox.put([Letter(A, "new")], KEPT_SECONDS + 1)
    assert bodies(outbox, KEPT_SECONDS + 1) == ["new"]

    outbox.put([Letter(A, str(k)) for k in range(MOST_LETTERS)], KEPT_SECONDS + 2)
    assert bodies(outbox, KEPT_SECONDS + 2) == ["0"]


def test_a_file_that_is_none_of_ours_is_one_sentence(tmp_path: Path) -> None:
    """With the next step."""
    path = tmp_path / "outbox.db"
    path.write_text("a diary\n" * 1000)

    with pytest.raises(HostError, match=r"cannot be used .*make room for it"):
        Outbox(path)
