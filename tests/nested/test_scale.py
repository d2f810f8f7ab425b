# SPDX-License-Identifier: Apache-2.0
"""The daemon beside thirty VMs: as much at rest as beside three, and as watchful."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from observer.bench.quiet import watch_quietly
from observer.experiment.scale import watched
from observer.experiment.tiny_vms import tiny_vms

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.nested,
    pytest.mark.newest,
    pytest.mark.vm,
    pytest.mark.timeout(120),
]

FEW, MANY = 3, 30
SECONDS = 4.0
NOISE_WAKEUPS = 4
"""As many as may come by chance: what few VMs cost is none."""


def test_thirty_quiet_vms_wake_the_daemon_no_more_than_three(tmp_path: Path) -> None:
    """And of thirty, the one that is killed and the one that is late are found."""
    wakeups = {}
    for count in (FEW, MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        with (
            tiny_vms(count, folder) as vms,
            watched(vms, folder, sys.stdout.write) as daemon,
        ):
            notes = daemon.voice.notes
            wakeups[count] = watch_quietly(daemon.pid, count, notes, SECONDS).wakeups
            assert not daemon.voice.since(0)
            if count == MANY:
                vms[7].kill()
                vms[23].be_late()
                found = daemon.voice.wait(lambda v: v.vm == vms[7].name, 10)
                late = daemon.voice.wait(lambda v: v.vm == vms[23].name, 10)
                said = {v.vm for v in daemon.voice.since(0)}

    assert wakeups[MANY] <= wakeups[FEW] + NOISE_WAKEUPS
    assert found is not None
    assert found.kind == "vmm-crashed"
    assert late is not None
    assert said == {vms[7].name, vms[23].name}
