# SPDX-License-Identifier: Apache-2.0
"""redis in the guest, redis-benchmark on the host."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.experiment.spread import Spread
from observer.experiment.workloads.client import asked
from observer.experiment.workloads.workload import Kit, WorkloadSample

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.guest import Guest

__all__ = ["Redis", "parse_benchmark"]

REQUESTS, CLIENTS = 100_000, 50  # redis-benchmark's own defaults
COMMAND = "set"
# The server is the same program under another name, which tells it what it is.
PROGRAM = "redis-check-rdb"
START = f"""\
ln -s "$(which {PROGRAM})" /bin/redis-server
redis-server --save '' --appendonly no --protected-mode no --bind 0.0.0.0 \\
	--daemonize yes >/dev/ttyS0 2>&1
"""
LATENCIES = ("avg_latency_ms", "p50_latency_ms", "p95_latency_ms", "p99_latency_ms")


def parse_benchmark(said: str) -> tuple[float, Spread]:
    """Requests a second, and their latencies, from `--csv`.

    It tells no single latencies.
    """
    rows = list(csv.DictReader(said.splitlines()))
    try:
        (row,) = rows
        return float(row["rps"]), Spread(*(float(row[key]) for key in LATENCIES))
    except (KeyError, TypeError, ValueError) as e:
        raise ProgramError(f"redis-benchmark said {said.strip()[-200:]!r}.") from e


@dataclass(frozen=True)
class Redis:
    """One command, so often, by fifty clients at once."""

    requests: int = REQUESTS
    name: str = "redis"
    memory_mib: int = 192
    port: int | None = 6379

    def kit(self, build: Path) -> Kit:  # noqa: ARG002 - it is installed
        """The server, which keeps all in memory."""
        return Kit((PROGRAM,), START)

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:  # noqa: ARG002 - as much as it says
        """Set a key, so often."""
        said, took_s = asked(
            [
                *("redis-benchmark", "-h", guest.spec.guest_address, "--csv"),
                *("-t", COMMAND, "-n", str(self.requests), "-c", str(CLIENTS)),
            ],
            guest,
            self.requests,
        )
        throughput, spread = parse_benchmark(said)
        unit = f"requests/s of {self.requests}, {CLIENTS} at once"
        return WorkloadSample(unit, throughput, took_s, spread)
