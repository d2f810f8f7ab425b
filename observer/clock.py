# SPDX-License-Identifier: Apache-2.0
"""The clock that everything is judged by: CLOCK_MONOTONIC, as in the kernel."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["MS", "SECOND", "Clock", "MonotonicClock"]

MS = 1_000_000
SECOND = 1_000_000_000


class Clock(Protocol):
    """What tells the time; tests pass one that they move themselves."""

    def now_ns(self) -> int:
        """Return nanoseconds since an arbitrary start."""
        ...


class MonotonicClock:
    """The host's own."""

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC in ns, as `bpf_ktime_get_ns` does."""
        return time.monotonic_ns()
