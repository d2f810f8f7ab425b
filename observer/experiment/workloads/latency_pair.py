# SPDX-License-Identifier: Apache-2.0
"""A latency-critical client and server in the manner of TailBench."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from observer.experiment.latency import RATE, LatencyProbe, echo_kit
from observer.experiment.spread import Answer, spread_of
from observer.experiment.workloads.workload import WorkloadSample

if TYPE_CHECKING:
    from observer.experiment.workloads.workload import Kit
    from observer.guests.guest import Guest

__all__ = ["LatencyPair"]


@dataclass(frozen=True)
class LatencyPair:
    """Requests on a schedule, for a time; each latency is kept."""

    build: Path
    rate: float = RATE
    name: str = "latency"
    memory_mib: int = 128
    port: int | None = None  # the probe itself waits for an answer

    def kit(self, build: Path) -> Kit:
        """The server."""
        return echo_kit(build)

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:
        """Ask for so long."""
        with tempfile.TemporaryDirectory(prefix="observer-latency-") as made:
            probe = LatencyProbe(guest, Path(made), self.build, self.rate)
            with probe:
                began = time.monotonic()
                time.sleep(seconds)
                took_s = time.monotonic() - began
            answers = [Answer(a.intended_ns, a.latency_ns) for a in probe.answers]
        latencies_ns = [a.latency_ns for a in answers]
        answered = sum(ns is not None for ns in latencies_ns)
        return WorkloadSample(
            f"answers/s of {self.rate:g} requests/s",
            answered / took_s,
            took_s,
            spread_of(latencies_ns),
            answers,
        )
