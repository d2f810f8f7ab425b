# SPDX-License-Identifier: Apache-2.0
"""What a recording consists of: `bpf/events.h`.

An event says that a debt was opened or paid, on the debtor's own clock: its CPU time,
or the time in which it had a CPU.  So a recording can be judged by any limit.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EVENT", "EVENTS_BYTES", "Debt", "Events", "What"]

EVENTS_BYTES = 16 * 1024 * 1024
"""The ring that events come through."""

Events = npt.NDArray[Any]
"""Of dtype EVENT, in the order of their time."""


class Debt(IntEnum):
    """`enum debt`: who owes what."""

    VCPU = 0
    BACKEND = 1
    CALLED = 2
    SERVICE = 3


class What(IntEnum):
    """`enum what`: what became of it."""

    OPENED = 0
    PAID = 1
    RENEWED = 2
    LOOKED = 3


EVENT = np.dtype(
    [
        ("ns", "u8"),
        ("clock_ns", "u8"),
        ("slot", "u4"),
        ("debt", "u1"),
        ("what", "u1"),
        ("pad", "u2"),
    ]
)
