# SPDX-License-Identifier: Apache-2.0
"""The daemon tells Masakari of a real VM whose QEMU is killed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cloud import Cloud, write_clouds

from observer.bench.quiet import memory_mib
from observer.demo.voice import observer_running
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.nested,
    pytest.mark.newest,
    pytest.mark.vm,
    pytest.mark.timeout(400),
]

INSTANCE = "3d84f07c-9b19-4cc6-9d25-c2a5e8a7a6f0"
# As libvirt begins the command line of an instance; it runs its BIOS.
QEMU = ["qemu-system-x86_64", "-accel", "kvm", "-display", "none", "-m", "16M"]
QEMU += ["-name", "guest=instance-00000007,debug-threads=on", "-uuid", INSTANCE]
POLICY = """
[escalate.masakari]
cloud = "ours"
host = "compute-1"
[paths]
state = "{state}"
"""


def test_masakari_hears_of_an_instance_that_was_killed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """By its UUID; the daemon is as small afterwards as it was."""
    cloud, config = Cloud(), tmp_path / "observer.toml"
    config.write_text(POLICY.format(state=tmp_path / "state"))
    clouds = tmp_path / "clouds.yaml"
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds))
    with (
        cloud.listening(),
        observer_running(tmp_path / "log", "--config", str(config)) as voice,
        subprocess.Popen(QEMU) as qemu,
    ):
        write_clouds(clouds, cloud.url)
        daemon = Path("/proc", Path("/run/observer/lock").read_text(), "status")
        try:
            wait_until(
                lambda: "vm: instance-00000007 " in voice.notes(), 60, "it was seen"
            )
        finally:
            qemu.kill()
        before_mib = memory_mib(daemon.read_text(), "VmRSS")
        wait_until(lambda: bool(cloud.heard), 120, "Masakari had heard of it")
        after_mib = memory_mib(daemon.read_text(), "VmRSS")
    (heard,) = cloud.heard
    (verdict,) = voice.since(0)
    assert verdict.uuid == heard["payload"]["instance_uuid"] == INSTANCE
    assert heard["generated_time"] == verdict.time
    assert heard["hostname"] == "compute-1"
    assert after_mib < before_mib + 5
    record_property("daemon_mib", (before_mib, after_mib))
