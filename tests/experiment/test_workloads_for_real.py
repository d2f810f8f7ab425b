# SPDX-License-Identifier: Apache-2.0
"""Guests that really work, in the nested host, each for a moment."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from observer.experiment.latency import LatencyProbe
from observer.experiment.overhead import Bench, overhead_windows
from observer.experiment.workloads.compiling import Compile
from observer.experiment.workloads.cpu import Cpu
from observer.experiment.workloads.fio import Fio
from observer.experiment.workloads.latency_pair import LatencyPair
from observer.experiment.workloads.nginx import Nginx
from observer.experiment.workloads.redis import Redis
from observer.experiment.workloads.workload import workload_guest
from observer.guests.launch import GuestSpec
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from pathlib import Path

    from observer.experiment.workloads.workload import Workload
    from observer.guests.images import GuestImage

pytestmark = [
    pytest.mark.nested,
    pytest.mark.newest,
    pytest.mark.vm,
    pytest.mark.timeout(300),
]

BUILD = checkout() / "build"
SUBNET = 78
MS = 1_000_000


def _spec(workload: Workload) -> GuestSpec:
    return GuestSpec(workload.name, subnet=SUBNET, memory_mib=workload.memory_mib)


@pytest.mark.parametrize(
    "workload", [Nginx(100), Redis(500), Fio(), Compile()], ids=lambda its: its.name
)
def test_a_guest_works(workload: Workload, image: GuestImage, tmp_path: Path) -> None:
    """It comes up with its server or its script, and has something to show."""
    with workload_guest(workload, _spec(workload), image, BUILD, tmp_path) as guest:
        sample = workload.run(guest, 1.0)

    assert sample.throughput is not None
    assert sample.throughput > 1
    if sample.spread is not None:
        assert 0 < sample.spread.p50_ms <= sample.spread.p99_ms


def test_latency_tells_a_fault_from_calm(image: GuestImage, tmp_path: Path) -> None:
    """Nothing is lost while all is well, and nobody answers while the VMM is stopped.

    Requests that were due meanwhile are answered once it goes on, or are lost.
    """
    pair = LatencyPair(BUILD)
    with (
        workload_guest(pair, _spec(pair), image, BUILD, tmp_path) as guest,
        LatencyProbe(guest, tmp_path, BUILD) as probe,
    ):
        time.sleep(1.5)
        with inject("vmm-stop", guest, GUEST_FAULTS):
            probe.mark("vmm-stop")
            time.sleep(0.5)
            stopped_until_ns = time.monotonic_ns()
        probe.mark("after")
        time.sleep(1.0)

    calm = [a for a in probe.answers if a.phase == "calm"]
    hit = [a for a in probe.answers if a.phase == "vmm-stop"]
    assert len(calm) > 100
    assert all(a.latency_ns is not None for a in calm)
    assert len(hit) > 40
    answered_ns = [
        a.intended_ns + a.latency_ns for a in hit if a.latency_ns is not None
    ]
    assert all(ns > stopped_until_ns for ns in answered_ns)
    assert max(a.latency_ns or 10**12 for a in hit) > 400 * MS
    assert [a.phase for a in probe.answers][-1] == "after"


def test_designs_have_their_turns_beside_one_guest(image: GuestImage) -> None:
    """An observer takes CPU time, nobody takes none, and nothing is called broken."""
    designs = "none", "sleeping"
    bench = Bench(image, BUILD, 1.0, sys.stderr.write, settle_s=0.0)

    windows = list(overhead_windows([Cpu()], designs, 1, bench))

    assert [w.design for w in windows] == ["none", "sleeping"]
    assert all(w.throughput > 0 and w.guest_exits > 0 for w in windows)
    assert windows[0].observer_cpu_ms == 0
    assert windows[1].verdicts == 0
