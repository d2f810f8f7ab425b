# SPDX-License-Identifier: Apache-2.0
"""All workloads, in the order of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.experiment.workloads import nginx, redis
from observer.experiment.workloads.compiling import Compile
from observer.experiment.workloads.cpu import Cpu
from observer.experiment.workloads.fio import Fio
from observer.experiment.workloads.idle import Idle
from observer.experiment.workloads.latency_pair import LatencyPair

if TYPE_CHECKING:
    from pathlib import Path

    from observer.experiment.workloads.workload import Workload

__all__ = ["EMULATED_SCALE", "workloads"]

EMULATED_SCALE = 0.1
"""Of the requests, where the CPU is emulated and each takes fifty times as long."""


def workloads(build: Path, scale: float = 1.0) -> dict[str, Workload]:
    """Each by its name; of requests that are counted, this share is made."""
    every: list[Workload] = [
        Idle(),
        Cpu(),
        nginx.Nginx(round(nginx.REQUESTS * scale)),
        redis.Redis(round(redis.REQUESTS * scale)),
        Fio(),
        Compile(),
        LatencyPair(build),
    ]
    return {its.name: its for its in every}
