# SPDX-License-Identifier: Apache-2.0
"""Service VMs as an operator has them: by the command, the disk by the initiator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.guests.traffic import host
from observer.guests.waiting import wait_until
from observer.services.folder import RUNTIME
from observer.services.images import images_file

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

ETC = Path("/etc/observer/images.toml")
FILE = Path("/var/lib/observer/disk.img")
DEVICE = Path("/dev/etherd/e0.0")
BRIDGE = Path("/sys/class/net/obs-storage")
NET = RUNTIME / "net"
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


@pytest.fixture(scope="module")
def file() -> None:
    """What the disk service has its blocks in, empty."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.open("wb") as file:
        file.truncate(DISK_MIB << 20)


@pytest.fixture(scope="module")
def block_device(
    run: Callable[..., str],
    service: Callable[..., str],
    file: None,  # noqa: ARG001 - comes first
) -> Iterator[Path]:
    """The disk of a running disk service, as a block device of this host."""
    service("up", "disk")
    run("modprobe", "aoe", "aoe_iflist=obs-storage")
    wait_until(DEVICE.exists, 30, f"{DEVICE} was there")
    yield DEVICE
    run("modprobe", "-r", "aoe")
    service("down", "disk")
    assert not BRIDGE.exists()


@pytest.fixture(scope="module")
def leave_to_break() -> Iterator[None]:
    """Of the services that are started meanwhile."""
    ETC.parent.mkdir(exist_ok=True)
    text = images_file().read_text()
    text = text.replace("[net]", '[net]\nwords = "faults=on"', 1)
    ETC.write_text(text.replace("aoe.slot=0", "aoe.slot=0 faults=on"))
    yield
    ETC.unlink()


@pytest.fixture(scope="module")
def spares(leave_to_break: None) -> None:  # noqa: ARG001 - changed here
    """Of the services that are started meanwhile: each has one."""
    ETC.write_text(ETC.read_text().replace("spare = false", "spare = true"))


@pytest.fixture(scope="module")
def disk(leave_to_break: None, block_device: Path) -> Path:  # noqa: ARG001 - comes first
    """One that may be broken, found by this host."""
    return block_device


@pytest.fixture(scope="module")
def net_ends(leave_to_break: None, service: Callable[..., str]) -> Iterator[None]:  # noqa: ARG001 - comes first
    """A net service that a module's tests share is ended after them."""
    yield
    service("down", "net")
    assert not NET.exists()


@pytest.fixture
def net(net_ends: None, service: Callable[..., str]) -> None:  # noqa: ARG001 - comes last
    """The net service, with leave to break; a test before may have ended it."""
    if not NET.exists():
        service("up", "net")


@pytest.fixture
def hosts(net: None) -> Iterator[tuple[socket.socket, socket.socket]]:  # noqa: ARG001 - their bridges
    """One among the guests, and one behind the uplink."""
    with (
        host("inside", "obs-guests", "10.7.0.1") as inside,
        host("outside", "obs-uplink", "10.7.0.2") as outside,
    ):
        yield inside, outside
