# SPDX-License-Identifier: Apache-2.0
"""The daemon beside thirty VMs: as much at rest as beside three, and as watchful."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.bench.quiet import wait_until_settled, watch_quietly
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

FEW, MORE = 3, 27
SECONDS = 4.0
NOISE_WAKEUPS = 4
"""As many as may come by chance: what few VMs cost is none."""


def test_thirty_quiet_vms_wake_the_daemon_no_more_than_three(tmp_path: Path) -> None:
    """And of thirty, the one that is killed and the one that is late are found."""
    with tiny_vms(FEW, tmp_path) as few, watched(few, tmp_path, print) as daemon:
        notes = daemon.voice.notes
        beside_few = watch_quietly(daemon.pid, FEW, notes, SECONDS)
        with tiny_vms(MORE, tmp_path, prefix="more") as more:
            daemon.wait_until_all_known([*few, *more])
            wait_until_settled(daemon.pid)
            beside_all = watch_quietly(daemon.pid, FEW + MORE, notes, SECONDS)
            assert not daemon.voice.since(0)
            dead, late = more[7], more[23]
            dead.kill()
            late.be_late()
            found = [
                daemon.voice.wait(lambda v, name=vm.name: v.vm == name, 10)
                for vm in (dead, late)
            ]
            said = {v.vm for v in daemon.voice.since(0)}

    assert beside_all.wakeups <= beside_few.wakeups + NOISE_WAKEUPS
    assert [v and v.kind for v in found] == ["vmm-crashed", "vmm-hung"]
    assert said == {dead.name, late.name}
