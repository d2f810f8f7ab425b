# SPDX-License-Identifier: Apache-2.0
"""One round of an experiment; the guest and a namespace behind the uplink saw it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from observer.demo.report import host_facts
from observer.experiment.designs import DESIGNS
from observer.experiment.guest_load import build_load
from observer.experiment.plan import turns
from observer.experiment.report import report_of
from observer.experiment.rows import Head
from observer.experiment.run import Study
from observer.experiment.scene import scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from observer.guests.images import GuestImage

pytestmark = [pytest.mark.guest, pytest.mark.newest, pytest.mark.timeout(600)]

FACED = {"fg": ("nic-hang",), "tfd-xen-like": ("nic-hang",)}
PERIOD_MS = 10.0


def test_two_designs_meet_the_same_fault(
    image: GuestImage, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Both notice; who is sooner is for many rounds, who loses packets is not."""
    say, load = sys.stderr.write, build_load(tmp_path)
    with scene("net-failure", image, load, PERIOD_MS, say) as stage:
        study = Study("net-failure", stage, 1, say)
        rows = {row.design: row for row in study.rows(turns(FACED, 1, 1))}
    for row in rows.values():
        record_property(row.design, row.detection_ms)
        assert row.detected, row
        assert row.repaired, row
        assert row.tcp_survived, row
    fg, tfd = rows["fg"], rows["tfd-xen-like"]
    assert fg.lost_packets == 0, fg
    assert fg.verdict == "part-hung"
    assert tfd.lost_packets
    head = Head(
        experiment="net-failure",
        host=host_facts(),
        rounds=1,
        period_ms=PERIOD_MS,
        designs={name: DESIGNS[name].does for name in FACED},
        load_average=0.0,
    )
    assert len(report_of([head], list(rows.values())).summaries) == 2
