# SPDX-License-Identifier: Apache-2.0
"""What other limits would have cost and gained; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.replay.event import Debt
from observer.replay.judge import ages_of, late_by
from observer.replay.recording import Facts, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observer.replay.event import Events

__all__ = ["LIMITS_MS", "Judged", "LateDebt", "Limit", "curve", "judge_again"]

LIMITS_MS = (1, 2, 5, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
HOUR_S = 3600


class LateDebt(msgspec.Struct, frozen=True):
    """One that a limit would have made a suspicion of."""

    vm: str
    debt: str
    since_ns: int
    age_ms: float
    """On its debtor's clock."""
    paid: bool
    """After all, so that a second look would have refuted it."""


class Judged(msgspec.Struct, frozen=True):
    """A kind of debt under one limit."""

    debt: str
    limit_ms: float
    paid: int
    longest_ms: float
    late: int
    never_paid: int


class Limit(msgspec.Struct, frozen=True):
    """A point of the trade-off curve."""

    debt: str
    limit_ms: float
    for_nothing: int
    """Suspicions of what was paid after all; exact to 19 % of the limit."""
    for_nothing_per_hour: float
    sooner_ms: float
    """Than the limit of the daemon that ran beside the recording."""


def judge_again(
    events: Events, facts: Facts, limits_ns: Mapping[Debt, int]
) -> tuple[list[Judged], list[LateDebt]]:
    """All kinds under these limits, and each debt that was late by them."""
    late, ages = late_by(events, limits_ns), ages_of(events)
    debts = [
        LateDebt(
            vm=name_of(facts, Debt(debt), int(slot)),
            debt=Debt(debt).name.lower(),
            since_ns=int(since_ns),
            age_ms=round(int(age_ns) / MS, 3),
            paid=bool(paid_ns),
        )
        for debt, slot, since_ns, age_ns, paid_ns in zip(*late, strict=True)
    ]
    kinds = [
        Judged(
            debt=debt.name.lower(),
            limit_ms=limit_ns / MS,
            paid=ages.paid(debt),
            longest_ms=round(int(ages.longest_ns[debt]) / MS, 3),
            late=int((late.debt == debt).sum()),
            never_paid=int(((late.debt == debt) & (late.paid_ns == 0)).sum()),
        )
        for debt, limit_ns in limits_ns.items()
    ]
    return kinds, debts


def curve(events: Events, facts: Facts) -> list[Limit]:
    """What each limit would have cost in suspicions and gained in time."""
    ages, hours = ages_of(events), facts.seconds / HOUR_S
    return [
        Limit(
            debt=debt.name.lower(),
            limit_ms=limit_ms,
            for_nothing=(count := ages.later_than(debt, limit_ms * MS)),
            for_nothing_per_hour=round(count / hours, 1) if hours else 0.0,
            sooner_ms=facts.limits_ns.get(debt.name.lower(), 0) / MS - limit_ms,
        )
        for debt in Debt
        if ages.paid(debt)
        for limit_ms in LIMITS_MS
    ]
