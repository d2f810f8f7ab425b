# SPDX-License-Identifier: Apache-2.0
"""A guest that has nothing to do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.experiment.workloads.workload import Kit, WorkloadSample

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.guest import Guest

__all__ = ["Idle"]


@dataclass(frozen=True)
class Idle:
    """Nothing, for a time."""

    name: str = "idle"
    memory_mib: int = 128
    port: int | None = None

    def kit(self, build: Path) -> Kit:  # noqa: ARG002 - nothing is built
        """Nothing."""
        return Kit()

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:  # noqa: ARG002 - it is left alone
        """Let time pass."""
        began = time.monotonic()
        time.sleep(seconds)
        return WorkloadSample("", None, time.monotonic() - began)
