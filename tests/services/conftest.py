# SPDX-License-Identifier: Apache-2.0
"""Service VMs as an operator has them: by the command, the disk by the initiator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = Path("/var/lib/observer/disk.img")
DEVICE = Path("/dev/etherd/e0.0")
BRIDGE = Path("/sys/class/net/obs-storage")
DISK_MIB = 64


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Run a program that must end well; what it said."""

    def run(*argv: str) -> str:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def service(run: Callable[..., str]) -> Callable[..., str]:
    """`observer service`, which must end well."""
    return lambda *words: run(sys.executable, "-m", "observer", "service", *words)


@pytest.fixture
def block_device(
    run: Callable[..., str], service: Callable[..., str]
) -> Iterator[Path]:
    """The disk of a running disk service, as a block device of this host."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    service("up", "disk")
    run("modprobe", "aoe", "aoe_iflist=obs-storage")
    wait_until(DEVICE.exists, 30, f"{DEVICE} was there")
    yield DEVICE
    run("modprobe", "-r", "aoe")
    service("down", "disk")
    assert not BRIDGE.exists()
