# SPDX-License-Identifier: Apache-2.0
"""The rights that the observer's unit leaves it, without a systemd."""

from __future__ import annotations

import os
from configparser import ConfigParser
from pathlib import Path

from observer.testbed.nested import checkout

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


def check_rights(pid: int) -> None:
    """A process has what the unit gives it, and no more."""
    status = Path(f"/proc/{pid}/status").read_text()
    kept = len(unit()["CapabilityBoundingSet"].split())
    (had,) = (x.split()[1] for x in status.splitlines() if x.startswith("CapEff"))
    assert int(had, 16).bit_count() == kept
    assert os.sched_getscheduler(pid) == os.SCHED_RR
