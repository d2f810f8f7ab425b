# SPDX-License-Identifier: Apache-2.0
"""fio in the guest, on its disk: random reads, one at a time, past its cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.experiment.spread import Spread
from observer.experiment.workloads.in_guest import work_for, work_script
from observer.experiment.workloads.workload import Kit, WorkloadSample

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.guest import Guest

__all__ = ["Fio", "parse_terse"]

WORK = """\
exec fio --name=work --filename=/dev/vda --rw=randread --bs=4k --ioengine=psync \\
	--direct=1 --time_based --runtime="$1" --minimal
"""
# Fields of its terse output, version 3 (HOWTO.rst, "Terse output").
ERROR, READ_KIB, RUNTIME_MS, MEAN_US = 4, 5, 8, 15
BLOCK_KIB = 4
US_PER_MS = MS_PER_S = 1000


def parse_terse(said: str) -> tuple[float, float, Spread]:
    """Reads a second, how many seconds, and the latencies of their completion.

    It tells no single latencies here.
    """
    line = next((line for line in said.splitlines() if line.startswith("3;")), "")
    fields = line.split(";")
    try:
        if fields[ERROR] != "0":
            raise ProgramError(f"fio ended with the error {fields[ERROR]}.")
        # The first of each percentage are the reads', the second the writes'.
        percentiles = dict(
            reversed(re.findall(r"\b(50|95|99)\.000000%=(\d+)", line)),
        )
        spread = Spread(
            float(fields[MEAN_US]) / US_PER_MS,
            *(int(percentiles[percent]) / US_PER_MS for percent in ("50", "95", "99")),
        )
        # Its own figure is cut off to a whole one.
        reads = int(fields[READ_KIB]) / BLOCK_KIB
        seconds = int(fields[RUNTIME_MS]) / MS_PER_S
        return reads / seconds, seconds, spread
    except (IndexError, KeyError, ValueError, ZeroDivisionError) as e:
        raise ProgramError(f"fio said {said.strip()[-200:]!r}.") from e


@dataclass(frozen=True)
class Fio:
    """Reads of 4 KiB, for a time."""

    name: str = "fio"
    memory_mib: int = 512
    port: int | None = None

    def kit(self, build: Path) -> Kit:  # noqa: ARG002 - it is installed
        """fio, with more libraries than all else."""
        return Kit(("fio",), work_script(WORK))

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:
        """Read for so long."""
        throughput, took_s, spread = parse_terse(work_for(guest, seconds))
        return WorkloadSample("reads/s of 4 KiB", throughput, took_s, spread)
