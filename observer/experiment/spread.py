# SPDX-License-Identifier: Apache-2.0
"""Latencies of requests that were due on a schedule, some never answered; pure."""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from observer.clock import MS
from observer.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CALM",
    "Answer",
    "PhasedAnswer",
    "Spread",
    "phased",
    "read_answers",
    "spread_of",
]

CALM = "calm"
"""The phase before the first that is named."""
HEAD = struct.Struct("=3q")
LOST = -1


class Answer(NamedTuple):
    """When a request was due, and how long after that its answer came; None: never."""

    intended_ns: int
    latency_ns: int | None


class PhasedAnswer(NamedTuple):
    """An answer, and in which phase its request was due."""

    phase: str
    intended_ns: int
    latency_ns: int | None


class Spread(msgspec.Struct, frozen=True):
    """Of many latencies; a percentile that falls among the lost ones is None."""

    mean_ms: float | None
    """Of those that were answered."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


def spread_of(latencies_ns: Sequence[int | None]) -> Spread:
    """Mean, and percentiles by nearest rank; what was lost came later than all."""
    answered = sorted(ns for ns in latencies_ns if ns is not None)

    def percentile(percent: int) -> float | None:
        rank = max(math.ceil(len(latencies_ns) * percent / 100), 1)
        return answered[rank - 1] / MS if rank <= len(answered) else None

    mean = sum(answered) / len(answered) / MS if answered else None
    return Spread(mean, percentile(50), percentile(95), percentile(99))


def read_answers(written: bytes) -> list[Answer]:
    """What `asker.c` wrote."""
    try:
        first_ns, period_ns, count = HEAD.unpack_from(written)
        latencies = struct.unpack_from(f"={count}q", written, HEAD.size)
    except struct.error as e:
        raise ProgramError(f"The latency client wrote half of its file ({e}).") from e
    return [
        Answer(first_ns + k * period_ns, None if ns == LOST else ns)
        for k, ns in enumerate(latencies)
    ]


def phased(
    answers: Iterable[Answer], marks: Sequence[tuple[int, str]]
) -> list[PhasedAnswer]:
    """Each answer with the phase that had begun last when its request was due."""
    began = [ns for ns, _ in marks]
    names = [CALM, *(name for _, name in marks)]
    return [
        PhasedAnswer(names[bisect_right(began, a.intended_ns)], *a) for a in answers
    ]
