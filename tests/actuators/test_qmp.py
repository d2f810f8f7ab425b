# SPDX-License-Identifier: Apache-2.0
"""QEMU itself answers: a machine stopped before its first instruction."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.actuators.qmp import QmpOrder
from observer.clock import SECOND
from observer.errors import ProgramError, UnfitError
from observer.guests.qmp import execute
from observer.guests.waiting import wait_until
from observer.model import Repair, Step, StepKind, Verdict, VerdictKind, Vm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEP = Step(StepKind.RESET_GUEST, SECOND)


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[Vm]:
    """One whose VMM answers on two monitors: ours is the second."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "16", "-display", "none"]
    for socket in (ours, other):
        argv += ["-qmp", f"unix:{socket},server=on,wait=off"]
    with subprocess.Popen([*argv, "-S", "-nodefaults"]) as process:
        wait_until(lambda: ours.exists() and other.exists(), 30, "QEMU was there")
        yield Vm(process.pid, 1, "web", 0, qmp=str(ours))
        process.kill()


def repair(vm: Vm) -> Repair:
    kind = VerdictKind.GUEST_HUNG
    return Repair(Verdict("", 0, vm.name, "guest", kind, 0, 0, "", "", vm.pid), STEP, 1)


def test_an_order_reaches_qemu(vm: Vm, tmp_path: Path) -> None:
    """`cont` is seen by its effect, on the other monitor; a plan has none."""
    order = QmpOrder(lambda _: vm, "cont")

    assert order.plan(repair(vm)) == f"cont by QMP at {vm.qmp}"
    assert execute(tmp_path / "other", ("query-status", {}))[0]["running"] is False
    asyncio.run(order.act(repair(vm)))
    assert execute(tmp_path / "other", ("query-status", {}))[0]["running"] is True


def test_what_qemu_refuses_is_one_sentence(vm: Vm) -> None:
    """With its own reason."""
    with pytest.raises(ProgramError, match=r"did not take brew-coffee: .*\.$"):
        asyncio.run(QmpOrder(lambda _: vm, "brew-coffee").act(repair(vm)))


def test_a_vm_without_a_monitor_is_left_alone(vm: Vm) -> None:
    """And so is one that has taken the place of the one that hung."""
    mute = msgspec.structs.replace(vm, qmp=None)
    with pytest.raises(UnfitError, match="no QMP socket"):
        QmpOrder(lambda _: mute, "cont").plan(repair(vm))
    other = msgspec.structs.replace(vm, pid=vm.pid + 1)
    with pytest.raises(UnfitError, match="not the VM any more"):
        asyncio.run(QmpOrder(lambda _: other, "cont").act(repair(vm)))
