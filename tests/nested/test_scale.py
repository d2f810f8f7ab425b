# SPDX-License-Identifier: Apache-2.0
"""The daemon beside thirty VMs: as much at rest as beside three, and as watchful."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.bench.quiet import watch_quietly
from observer.experiment.scale import watching
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
SECONDS = 3.0
NOISE_WAKEUPS = 4
"""As many as may come by chance: what few VMs cost is none."""


def test_thirty_quiet_vms_wake_the_daemon_no_more_than_three(tmp_path: Path) -> None:
    """And of thirty, the one that is killed and the one that is late are found."""
    with tiny_vms(tmp_path) as vms, watching(tmp_path) as daemon:
        cost = {}
        for count in (FEW, MANY):
            daemon.take_in(vms, count)
            daemon.wait_until_at_rest()
            notes = daemon.voice.notes
            cost[count] = watch_quietly(daemon.pid, count, notes, SECONDS)
        assert not daemon.voice.since(0)
        dead, late = vms.all[7], vms.all[23]
        dead.kill()
        late.be_late()
        found = [
            daemon.voice.wait(lambda v, name=vm.name: v.vm == name, 10)
            for vm in (dead, late)
        ]
        said = {v.vm for v in daemon.voice.since(0)}

    assert cost[MANY].wakeups <= cost[FEW].wakeups + NOISE_WAKEUPS
    assert [v and v.kind for v in found] == ["vmm-crashed", "vmm-hung"]
    assert said == {dead.name, late.name}
