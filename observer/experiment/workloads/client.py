# SPDX-License-Identifier: Apache-2.0
"""Runs a client on the host against a guest's server, to its end or its deadline."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from observer.errors import DeadlineError, HostError, ProgramError
from observer.guests.linux import last_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observer.guests.guest import Guest

__all__ = ["asked"]

SECONDS = 60.0
SLOWEST_PER_S = 20.0
"""So few requests a second are no answer any more."""


def asked(argv: Sequence[str], guest: Guest, requests: int) -> tuple[str, float]:
    """What the client said, and how many seconds it took for so many requests."""
    patience, began = SECONDS + requests / SLOWEST_PER_S, time.monotonic()
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=patience
        )
    except FileNotFoundError as e:
        raise HostError(
            f"{argv[0]} is missing: apt install apache2-utils redis-tools."
        ) from e
    except subprocess.TimeoutExpired as e:
        raise DeadlineError(
            f"{argv[0]} had not ended after {patience:.0f} s. {last_words(guest)}"
        ) from e
    if done.returncode:
        raise ProgramError(
            f"{argv[0]} failed: {done.stderr.strip()[-300:]}. {last_words(guest)}"
        )
    return done.stdout, time.monotonic() - began
