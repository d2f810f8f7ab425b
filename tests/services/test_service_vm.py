# SPDX-License-Identifier: Apache-2.0
"""Service VMs as an operator starts them, and what the observer says of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute
from pyroute2.ethtool.ethtool import Ethtool

from observer.errors import DeadlineError, ProgramError
from observer.guests.traffic import Flow
from observer.guests.waiting import wait_until
from observer.services.control import order
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.record import Record, read_record

if TYPE_CHECKING:
    import socket

pytestmark = [
    pytest.mark.service,
    pytest.mark.newest,
    pytest.mark.timeout(300),
]

NET = ServiceFolder(RUNTIME / "net")
OF_NET = ("obs-net-nic", "obs-net-back", "obs-uplink", "obs-guests")
KVM = Path("/dev/kvm")
RESETS = 5


def service(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "observer", "service", *words]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120
    )


def devices() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def record() -> Record:
    found = read_record(NET)
    assert found is not None
    return found


def has_ended(pid: int) -> bool:
    """Its keeper holds its number."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def say(line: str) -> list[str]:
    return asyncio.run(order(NET.vm.control, line, 10.0))


@pytest.mark.usefixtures("net")
def test_it_comes_and_goes_without_a_trace() -> None:
    """Twice up is once up; it runs as nobody in particular; down leaves nothing."""
    first = record()
    assert service("up", "net").returncode == 0
    assert record() == first
    shown = [line.split()[:3] for line in service("status").stdout.splitlines()]
    assert ["net", "up", str(first.pid)] in shown

    status = Path(f"/proc/{first.pid}/status").read_text()
    assert f"Uid:\t{first.user}\t{first.user}" in status
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert set(OF_NET) <= devices()

    assert service("down", "net").returncode == 0
    assert not set(OF_NET) & devices()
    assert not NET.path.exists()
    assert not Path(f"/proc/{first.pid}").exists()
    assert "is not up" in service("down", "net").stdout


@pytest.mark.usefixtures("net")
def test_a_keeper_that_is_killed_takes_its_vm_along() -> None:
    """What it leaves behind is no hindrance to the next one."""
    first = record()
    vm = os.pidfd_open(first.pid)
    os.kill(first.keeper, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{first.pid}").exists(), 10, "the VM was gone")
    os.close(vm)

    again = service("up", "net")

    assert again.returncode == 0, again.stderr
    assert record().pid != first.pid
    say("version")


@pytest.mark.usefixtures("net")
def test_no_frame_is_lost_when_a_part_is_reset(
    hosts: tuple[socket.socket, socket.socket],
) -> None:
    """Under traffic both ways: each datagram arrives once, in order.

    Where vhost cannot reset queues alone (6.1) QEMU has the tap meanwhile, reads a
    frame and throws it away when vhost is back (its virtio_net_vhost_status).
    """
    inside, outside = hosts
    by_device = 0
    with Flow(inside, outside) as out, Flow(outside, inside) as back:
        for _ in range(RESETS):
            for part in ("nic", "netback"):
                out.wait_for(30)
                back.wait_for(30)
                (said,) = say(f"reset {part}")
                by_device += said.endswith("by=device")
        out.wait_for(30)

    for flow in (out, back):
        assert not flow.out_of_order
        lost = flow.sent - len(flow.received)
        assert lost <= by_device // 2, f"{lost} lost in {by_device} resets"


def first_arrivals(flow: Flow) -> list[int]:
    return list(dict.fromkeys(flow.received))


def salvaged() -> int:
    """Frames that the service found in hand when its life began."""
    (line,) = (line for line in say("stats") if line.startswith("stats net "))
    return int(line.split("salvaged=")[1].split()[0])


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize("death", ["kill", "fault service-hang", "none"])
def test_no_frame_is_lost_when_it_is_started_again(
    hosts: tuple[socket.socket, socket.socket], death: str
) -> None:
    """Under traffic both ways, whatever became of it: all arrive, in order.

    Those that were in hand may arrive twice: who died had not yet heard of their end.
    """
    inside, outside = hosts
    with Flow(inside, outside) as out, Flow(outside, inside) as back:
        out.wait_for(30)
        back.wait_for(30)
        before = record()
        if death == "kill":
            os.kill(before.pid, signal.SIGKILL)
            wait_until(lambda: has_ended(before.pid), 10, "it was dead")
        elif death != "none":
            with pytest.raises((DeadlineError, ProgramError)):
                asyncio.run(order(NET.vm.control, death, 0.5))
        again = service("restart", "net")
        assert again.returncode == 0, again.stderr
        assert record().pid != before.pid
        found = salvaged()
        out.wait_for(30)
        back.wait_for(30)

    for flow in (out, back):
        arrived = first_arrivals(flow)
        assert arrived == list(range(flow.sent))
        assert len(flow.received) - len(arrived) <= found


@pytest.mark.usefixtures("net")
def test_a_restart_that_fails_can_be_tried_again(
    hosts: tuple[socket.socket, socket.socket],
) -> None:
    """It says why, frames wait, and the next try sends them."""
    inside, outside = hosts
    mode = KVM.stat().st_mode & 0o777
    with Flow(inside, outside) as out:
        out.wait_for(30)
        KVM.chmod(0o600)
        try:
            failed = service("restart", "net")
        finally:
            KVM.chmod(mode)
        assert failed.returncode == 1
        assert "No unprivileged user may open /dev/kvm" in failed.stderr
        assert "crashed" in service("status").stdout
        again = service("restart", "net")
        assert again.returncode == 0, again.stderr
        out.wait_for(30)

    assert first_arrivals(out) == list(range(out.sent))


@pytest.mark.usefixtures("file")
def test_a_bridge_of_others_that_sends_by_reference_is_refused() -> None:
    """With what to do; it stays as it was."""
    with IPRoute() as ip, Ethtool() as ethtool:
        ip.link("add", ifname="obs-storage", kind="bridge")
        (bridge,) = ip.link_lookup(ifname="obs-storage")
        try:
            done = service("up", "disk")
            features = ethtool.get_features("obs-storage").features
            assert not ip.link_lookup(ifname="obs-disk")
        finally:
            ip.link("del", index=bridge)
    assert done.returncode, done.stdout
    assert "ethtool -K obs-storage sg off" in done.stderr
    assert features["tx-scatter-gather"].enable
