# SPDX-License-Identifier: Apache-2.0
"""How many polls in a row went wrong, and what is to be said of it; pure."""

from __future__ import annotations

import msgspec

from observer.model import VerdictKind

__all__ = ["Finding", "Misses", "counted"]


class Finding(msgspec.Struct, frozen=True):
    """What one poll found wrong."""

    kind: VerdictKind
    subject: str
    evidence: str
    is_certain: bool = False
    """Nothing that a second poll could show otherwise: it is gone."""


class Misses(msgspec.Struct, frozen=True):
    """The polls since the last good one."""

    count: int = 0
    since_ns: int = 0
    """When the first of them was."""
    said: bool = False


def counted(
    before: Misses, found: Finding | None, now_ns: int, failures: int
) -> tuple[Misses, Finding | None]:
    """One more poll: the count after it, and what is to be said now.

    A failure is said once, after so many polls in a row; the first good one forgets it.
    """
    if found is None:
        return Misses(), None
    count = before.count + 1
    is_due = not before.said and (found.is_certain or count >= failures)
    now = Misses(
        count, before.since_ns if before.count else now_ns, before.said or is_due
    )
    return now, found if is_due else None
