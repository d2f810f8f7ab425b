# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.actuators.process import Continue
from observer.clock import SECOND
from observer.errors import UnfitError
from observer.guests.waiting import wait_until
from observer.inventory.task import look_at_task
from observer.model import (
    BackEnd,
    Repair,
    Step,
    StepKind,
    Verdict,
    VerdictKind,
    Vm,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")


@pytest.fixture
def stopped() -> Iterator[Vm]:
    """A process that a signal stopped."""
    with subprocess.Popen(["sleep", "60"]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        folder = PROC / str(process.pid)
        wait_until(lambda: look_at_task(folder).stopped, 10, "it was stopped")
        yield Vm(process.pid, look_at_task(folder).start_ticks, "web", 0)
        process.kill()


def repair(vm: Vm, back_end: BackEnd | None = None) -> Repair:
    kind = VerdictKind.BACKEND_HUNG if back_end else VerdictKind.VMM_STOPPED
    subject = back_end.name if back_end else vm.name
    verdict = Verdict("", 0, vm.name, subject, kind, 0, 0, "", "", vm.pid)
    return Repair(verdict, Step(StepKind.CONTINUE, SECOND), 1)


def test_who_is_stopped_goes_on(stopped: Vm) -> None:
    """A plan leaves it stopped."""
    actuator = Continue(lambda _: stopped)
    folder = PROC / str(stopped.pid)

    assert str(stopped.pid) in actuator.plan(repair(stopped))
    assert look_at_task(folder).stopped

    asyncio.run(actuator.act(repair(stopped)))
    wait_until(lambda: not look_at_task(folder).stopped, 10, "it went on")


def test_another_of_its_number_is_left_alone(stopped: Vm) -> None:
    """The verdict was about a process that was started at another time."""
    other = msgspec.structs.replace(stopped, start_ticks=stopped.start_ticks - 1)

    with pytest.raises(UnfitError, match="is not web any more"):
        asyncio.run(Continue(lambda _: other).act(repair(other)))
    assert look_at_task(PROC / str(stopped.pid)).stopped


def test_another_of_its_name_is_left_alone(stopped: Vm) -> None:
    """It has taken the place of the one that the verdict was about."""
    next_one = msgspec.structs.replace(stopped, pid=stopped.pid + 1)

    with pytest.raises(UnfitError, match="not the VM any more"):
        asyncio.run(Continue(lambda _: next_one).act(repair(stopped)))
    with pytest.raises(UnfitError, match="not the VM any more"):
        Continue(lambda _: None).plan(repair(stopped))


@pytest.fixture
def daemon() -> Iterator[BackEnd]:
    """A process that a signal stopped, and that shares an eventfd with this one."""
    shared = os.eventfd(0)
    with subprocess.Popen(["sleep", "60"], pass_fds=(shared,)) as process:
        os.kill(process.pid, signal.SIGSTOP)
        folder = PROC / str(process.pid)
        wait_until(lambda: look_at_task(folder).stopped, 10, "it was stopped")
        yield BackEnd(process.pid, "sleep")
        process.kill()
    os.close(shared)


def us(back_end: BackEnd) -> Vm:
    """This process, as a VMM with a back end."""
    ticks = look_at_task(PROC / str(os.getpid())).start_ticks
    return Vm(os.getpid(), ticks, "web", 0, back_ends=(back_end,))


def test_a_back_end_that_is_stopped_goes_on(daemon: BackEnd) -> None:
    """Once; one that runs is none that a signal holds."""
    vm, folder = us(daemon), PROC / str(daemon.pid)
    actuator = Continue(lambda _: vm)
    asked = repair(vm, daemon)

    assert actuator.plan(asked) == f"send SIGCONT to sleep, process {daemon.pid}"
    asyncio.run(actuator.act(asked))
    wait_until(lambda: not look_at_task(folder).stopped, 10, "it went on")
    with pytest.raises(UnfitError, match="sleep is no process that is stopped"):
        actuator.plan(asked)


def test_who_is_no_back_end_any_more_is_left_alone(stopped: Vm) -> None:
    """It shares nothing with the VMM, whatever its number and its name."""
    other = BackEnd(stopped.pid, "sleep")
    vm = us(other)

    with pytest.raises(UnfitError, match="is not sleep any more"):
        asyncio.run(Continue(lambda _: vm).act(repair(vm, other)))
    assert look_at_task(PROC / str(stopped.pid)).stopped
