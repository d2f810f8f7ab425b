# SPDX-License-Identifier: Apache-2.0
"""A guest that computes, and exits only for its timer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.clock import SECOND
from observer.errors import ProgramError
from observer.experiment.built import built
from observer.experiment.workloads.in_guest import work_for, work_script
from observer.experiment.workloads.workload import Kit, WorkloadSample

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.guest import Guest

__all__ = ["Cpu", "parse_spin"]

MILLION = 1e6


def parse_spin(said: str) -> tuple[float, float]:
    """Million rounds a second, and in how many seconds of the guest's."""
    found = re.search(r"spin: (\d+) rounds in (\d+) ns", said)
    if not found:
        raise ProgramError(f"spin said {said.strip()[-200:]!r}.")
    seconds = int(found[2]) / SECOND
    return int(found[1]) / MILLION / seconds, seconds


@dataclass(frozen=True)
class Cpu:
    """Arithmetic, for a time."""

    name: str = "cpu"
    memory_mib: int = 128
    port: int | None = None

    def kit(self, build: Path) -> Kit:
        """The program that computes."""
        spin = built("spin", build / "experiment").resolve()
        return Kit((str(spin),), work_script(f'exec {spin} "$1"\n'))

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:
        """Compute for so long."""
        throughput, took_s = parse_spin(work_for(guest, seconds))
        return WorkloadSample("million rounds/s", throughput, took_s)
