# SPDX-License-Identifier: Apache-2.0
"""Waits for a condition that nothing announces, never longer than its deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from observer.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["wait_until"]

PAUSE_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Return as soon as the condition holds; `what` says in the error what did not."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise DeadlineError(f"{what} not within {timeout:.0f} s.")
        time.sleep(PAUSE_SECONDS)
