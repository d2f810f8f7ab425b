# SPDX-License-Identifier: Apache-2.0
"""What is made of a finding beside a VMM that runs, or is stopped, and says nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import vm_per_vm
from qemu.qmp import EventListener, Runstate

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_SECONDS = 60.0
SOON_SECONDS = 10.0
STANDS_STILL = "found all 0 400000000"


class MuteMonitor:
    """It takes every question and answers none; where told to, it hangs up."""

    def __init__(self, *told: str, hangs_up: bool = False) -> None:
        self.asked: list[str] = []
        self.runstate = Runstate.RUNNING
        self._told, self._hangs_up = told, hangs_up

    def register_listener(self, events: EventListener) -> None:
        """It tells its events as it hangs up."""
        self._events = events

    async def runstate_changed(self) -> Runstate:
        """Only once."""
        if not self._hangs_up:
            await asyncio.sleep(LONG_SECONDS)
        for name in self._told:
            await self._events.put({"event": name})
        self.runstate = Runstate.DISCONNECTING
        return self.runstate

    async def execute(self, command: str) -> None:
        """Forget it."""
        self.asked.append(command)
        await asyncio.sleep(LONG_SECONDS)


@pytest.fixture
def vmm() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        yield sleeper
        sleeper.kill()


@pytest.mark.parametrize(
    ("is_stopped", "kind", "asked"),
    [(True, "vmm-stopped", []), (False, "vmm-hung", ["query-status"])],
)
def test_one_that_is_stopped_is_not_asked(
    vmm: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
    kind: str,
    asked: list[str],
    *,
    is_stopped: bool,
) -> None:
    """It could not answer; one that runs and does not hangs."""
    if is_stopped:
        vmm.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, vmm.pid, os.WSTOPPED)
    guest = SimpleNamespace(name="web1", pid=vmm.pid, spec=SimpleNamespace(vcpus=1))
    monitor, lines = MuteMonitor(), iter([STANDS_STILL])

    async def hear() -> str:
        with suppress(StopIteration):
            return next(lines)
        raise EOFError

    responder = SimpleNamespace(hear=hear)
    watch = vm_per_vm.Watch(guest, monitor, responder, [])
    with pytest.raises(EOFError):
        asyncio.run(asyncio.wait_for(watch.run(), SOON_SECONDS))

    (verdict,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (verdict["kind"], verdict["subject"]) == (kind, "web1")
    assert monitor.asked == asked


@pytest.mark.parametrize(
    ("told", "kinds"), [((), ["vmm-crashed"]), (("SHUTDOWN",), [])]
)
def test_a_monitor_that_hangs_up_is_a_vmm_that_is_gone(
    capsys: pytest.CaptureFixture[str], told: tuple[str, ...], kinds: list[str]
) -> None:
    """Said at once, and no finding is waited for; nothing where it was told to end."""
    guest = SimpleNamespace(name="web1", pid=1, spec=SimpleNamespace(vcpus=1))

    async def hear() -> str:
        await asyncio.sleep(LONG_SECONDS)
        return STANDS_STILL

    responder = SimpleNamespace(hear=hear, say=lambda _line: None)
    watch = vm_per_vm.Watch(guest, MuteMonitor(*told, hangs_up=True), responder, [])
    asyncio.run(asyncio.wait_for(watch.run(), SOON_SECONDS))

    said = map(json.loads, capsys.readouterr().out.splitlines())
    assert [verdict["kind"] for verdict in said] == kinds
