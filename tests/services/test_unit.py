# SPDX-License-Identifier: Apache-2.0
"""The observer has enough with the rights that its unit leaves it."""

from __future__ import annotations

import os
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from broken_service import Service, caring_for

from observer.guests.traffic import Flow
from observer.model import Result
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

pytestmark = [
    pytest.mark.service,
    pytest.mark.newest,
    pytest.mark.usefixtures("leave_to_break"),
]

FAULTS = "nic-hang", "kill"
"""A part is reset over a socket, a service by its keeper; of processes and pidfds."""
# What ProtectSystem=strict and ProtectKernelTunables=yes do, but for these places.
READ_ONLY = """
set -e
for place in $1; do mount --bind "$place" "$place"; done
for place in / /run /tmp /sys; do
    if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi
done
shift
exec "$@"
"""


def unit() -> dict[str, str]:
    """Its section [Service], as systemd reads it."""
    found = ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(checkout() / "packaging/observer.service")
    return dict(found["Service"])


def under(places: list[Path]) -> tuple[str, ...]:
    """What leads to a process with the rights of the unit."""
    said = unit()
    assert said["ProtectSystem"] == "strict"
    assert said["ReadWritePaths"] == "/sys/fs/bpf"
    kept = said["CapabilityBoundingSet"].replace("CAP_", "+").lower().replace(" ", ",")
    writable = " ".join(map(str, [*places, Path("/sys/fs/bpf")]))
    return (
        *("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", writable),
        *("prlimit", f"--rtprio={said['LimitRTPRIO']}"),
        *("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all"),
        *("--no-new-privs", "--"),
    )


@pytest.mark.timeout(400)
def test_the_units_rights_are_enough(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    run: Callable[..., str],
) -> None:
    """To arm, to see, to be in time, to mend, to answer; it has no others."""
    net, state, runtime = Service("net"), tmp_path / "state", Path("/run/observer")
    for place in (state, runtime):
        place.mkdir(exist_ok=True)
    with (
        caring_for((net,), tmp_path, under=under([state, runtime])) as voice,
        Flow(*hosts) as flow,
    ):
        pid = int((runtime / "lock").read_text())
        status = Path(f"/proc/{pid}/status").read_text()
        kept = len(unit()["CapabilityBoundingSet"].split())
        (had,) = (x.split()[1] for x in status.splitlines() if x.startswith("CapEff"))
        assert int(had, 16).bit_count() == kept
        assert os.sched_getscheduler(pid) == os.SCHED_RR
        for count, fault in enumerate(FAULTS, 1):
            flow.wait_for(30)
            net.breaks(fault)
            outcome = voice.wait_for_outcome(
                lambda _, n=count: len(voice.outcomes()) >= n, 60
            )
            assert outcome is not None, voice.notes()
        flow.wait_for(30)
        assert "net" in run(sys.executable, "-m", "observer", "status")
        results = [outcome.result for outcome in voice.outcomes()]
        assert results == [Result.REPAIRED] * len(FAULTS), voice.outcomes()
        assert "left out" not in voice.notes(), voice.notes()
        assert "error" not in voice.notes(), voice.notes()
