# SPDX-License-Identifier: Apache-2.0
"""Designs that watch a service VM, as the study takes them through its cases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from observer.experiment.ear import Ear, design_heard
from observer.experiment.observers import SERVICES
from observer.experiment.play import own_images
from observer.experiment.service_run import ServiceCourse, service_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.newest, pytest.mark.timeout(300)]

COURSE = ServiceCourse(("service-hang",), (), 1.0)


@pytest.mark.parametrize("name", ["phoenix-15ms", "tfd-xen"])
def test_a_service_that_hangs_is_seen_by_its_design(name: str, tmp_path: Path) -> None:
    """In its second life: what it says for nothing depends on the load of the host."""
    design = SERVICES[name]
    with (
        own_images(tmp_path, design.service_words),
        design_heard(design, tmp_path / "notes") as voice,
        service_run(Ear(design, voice, 1, sys.stderr.write)) as run,
    ):
        cases = list(run.rows(COURSE, lambda: 0))
    silent = ["boot", "idle", "load"]
    assert [case.case for case in cases] == [*silent, "boot", "service-hang"]
    assert cases[-1].detected, cases
