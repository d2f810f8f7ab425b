# SPDX-License-Identifier: Apache-2.0
"""What came of a numbered stream, from what its receiver saw; pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Account", "Arrival", "Gap", "account", "outage", "total"]


class Arrival(NamedTuple):
    """A numbered thing, and when it came."""

    number: int
    ns: int


class Gap(NamedTuple):
    """A time in which nothing came."""

    since_ns: int
    until_ns: int

    @property
    def ns(self) -> int:
        """How long."""
        return self.until_ns - self.since_ns


class Account(msgspec.Struct, frozen=True):
    """How many of the numbers of a window came, and how."""

    sent: int
    lost: int
    duplicated: int
    reordered: int
    """Came after one that was sent later, not counting second copies."""


def account(arrivals: Iterable[Arrival], first: int, last: int) -> Account:
    """Account for all numbers from `first` to `last`: each was sent once."""
    seen: set[int] = set()
    newest, copies, late = -1, 0, 0
    for number, _ in arrivals:
        if not first <= number <= last:
            continue
        if number in seen:
            copies += 1
            continue
        seen.add(number)
        late += number < newest
        newest = max(newest, number)
    sent = max(0, last - first + 1)
    return Account(sent, sent - len(seen), copies, late)


def total(accounts: Iterable[Account]) -> Account:
    """Of several streams together."""
    kept = list(accounts)
    return Account(
        sum(a.sent for a in kept),
        sum(a.lost for a in kept),
        sum(a.duplicated for a in kept),
        sum(a.reordered for a in kept),
    )


def outage(arrivals: Sequence[Arrival], since_ns: int, until_ns: int) -> Gap | None:
    """The longest time without an arrival that a fault can have to do with.

    It ended after the fault and began before all was said to be mended: a pause of the
    host's own later on is none.  None where it lasts.
    """
    gaps = (
        Gap(a.ns, b.ns)
        for a, b in pairwise(arrivals)
        if b.ns > since_ns and a.ns < until_ns
    )
    return max(gaps, key=lambda gap: gap.ns, default=None)
