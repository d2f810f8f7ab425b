# SPDX-License-Identifier: Apache-2.0
"""A back end is started again: a program of that name, which rests."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.actuators.back_end import RestartBackEnd
from observer.actuators.process import is_gone
from observer.clock import SECOND
from observer.errors import ProgramError, UnfitError
from observer.loops.policy import RepairPolicy, Restart
from observer.model import BackEnd, Repair, Step, StepKind, Verdict, VerdictKind, Vm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.inventory.command_line import CommandLine

    Running = Callable[..., Iterator[CommandLine]]

NAME = "qemu-storage-daemon"
EXPORT = ("--export", "type=vhost-user-blk,addr.type=unix,addr.path=/run/d")
VMM_PID = 2**22 + 7
POLICY = RepairPolicy(
    care=("web",), in_order=("web",), restart={"web": Restart(recorded=True)}
)


@dataclass
class Host:
    """A VM, its back end, and what was started."""

    plain: CommandLine
    line: CommandLine | None = None
    policy: RepairPolicy = POLICY
    reconnect: str = ",reconnect=1"
    others: list[Vm] = field(default_factory=list)
    started: list[CommandLine] = field(default_factory=list)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    discovered: int = 0
    vm_dies: bool = False
    ends_at_once: bool = False

    def of(self, _vm: str, pid: int) -> CommandLine | None:
        if pid == VMM_PID:
            chardev = f"socket,id=d,path=/run/d{self.reconnect}"
            return msgspec.structs.replace(
                self.plain, argv=(*self.plain.argv, "-chardev", chardev)
            )
        return self.line if self.line and self.line.pid == pid else None

    async def start(self, line: CommandLine) -> int:
        self.started.append(line)
        argv = ["true"] if self.ends_at_once else ["sleep", "60"]
        self.children.append(subprocess.Popen(argv))  # noqa: ASYNC220 - at once
        return self.children[-1].pid

    def discover(self) -> None:
        self.discovered += 1

    def vms(self) -> list[Vm]:
        """Who has been started serves once it has been looked for."""
        if self.vm_dies and self.discovered:
            return self.others
        served = self.children if self.discovered and not self.ends_at_once else []
        back_ends = tuple(BackEnd(c.pid, NAME) for c in served)
        return [Vm(VMM_PID, 7, "web", 0, back_ends=back_ends), *self.others]

    @property
    def actuator(self) -> RestartBackEnd:
        return RestartBackEnd(
            self.vms, self.discover, self, self.policy, start=self.start
        )  # type: ignore[arg-type]

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()


@pytest.fixture
def host(plain: CommandLine) -> Iterator[Host]:
    one = Host(plain)
    yield one
    one.close()


def repair(server: int, kind: VerdictKind = VerdictKind.BACKEND_CRASHED) -> Repair:
    verdict = Verdict(
        "", 0, "web", NAME, kind, 0, 0, "", "", pid=VMM_PID, server=server
    )
    return Repair(verdict, Step(StepKind.RESTART_BACKEND, SECOND), 1)


def test_one_that_hangs_is_ended_and_the_next_one_serves(
    host: Host, running: Running
) -> None:
    """A plan says both, and does neither."""
    with running(NAME, *EXPORT) as line:
        host.line = line
        said = host.actuator.plan(repair(line.pid))
        assert f"kill process {line.pid}, then start {NAME} again as user" in said
        assert not is_gone(line.pid, line.start_ticks)

        asyncio.run(asyncio.wait_for(host.actuator.act(repair(line.pid)), 30))
        assert is_gone(line.pid, line.start_ticks)
        assert host.started == [line]
        assert host.discovered


def test_of_one_that_is_gone_nothing_is_killed(host: Host, running: Running) -> None:
    """And what ends at once is an error."""
    with running(NAME, *EXPORT) as line:
        host.line = line
    assert host.actuator.plan(repair(line.pid)).startswith(f"start {NAME} again")
    host.ends_at_once = True
    with pytest.raises(ProgramError, match="ended at once"):
        asyncio.run(asyncio.wait_for(host.actuator.act(repair(line.pid)), 30))


def test_a_vm_that_dies_meanwhile_is_not_waited_for(
    host: Host, running: Running
) -> None:
    """It has a verdict of its own, and what was started serves the next of its name."""
    with running(NAME, *EXPORT) as line:
        host.line, host.vm_dies = line, True
        asyncio.run(asyncio.wait_for(host.actuator.act(repair(line.pid)), 30))
    assert host.started == [line]


def test_requests_are_not_done_twice_by_a_guess(host: Host, running: Running) -> None:
    """Either they are kept track of, or the operator says that they come in order."""
    host.policy = msgspec.structs.replace(POLICY, in_order=())
    with running(NAME, *EXPORT) as line:
        host.line = line
        with pytest.raises(UnfitError, match=r"in flight.*repair\.in_order"):
            asyncio.run(host.actuator.act(repair(line.pid)))
        assert not is_gone(line.pid, line.start_ticks)
        host.line = msgspec.structs.replace(line, tracks_inflight=True)
        asyncio.run(asyncio.wait_for(host.actuator.act(repair(line.pid)), 30))
    assert len(host.started) == 1


def test_one_that_serves_others_too_is_not_ended_for_one(
    host: Host, running: Running
) -> None:
    """Once it is gone they need the next one as well."""
    with running(NAME, *EXPORT) as line:
        host.line = line
        host.others = [Vm(9, 9, "db", 1, back_ends=(BackEnd(line.pid, NAME),))]
        with pytest.raises(UnfitError, match="it serves db as well"):
            asyncio.run(host.actuator.act(repair(line.pid)))
        assert not is_gone(line.pid, line.start_ticks)
    assert host.actuator.plan(repair(line.pid)).startswith(f"start {NAME}")


def test_who_cannot_be_started_again_is_left_as_it_is(
    host: Host, running: Running
) -> None:
    """Each with its reason."""

    def why() -> str:
        with pytest.raises(UnfitError) as refused:
            asyncio.run(host.actuator.act(repair(line.pid)))
        return refused.value.message

    with running(NAME, *EXPORT) as line:
        host.line, host.reconnect = line, ""
        assert "its chardev d has no reconnect=" in why()
        host.reconnect, host.policy = ",reconnect=1", RepairPolicy(in_order=("web",))
        assert "does not care for web" in why()
        host.policy = msgspec.structs.replace(POLICY, restart={})
        assert "may start it again" in why()
        host.policy, host.line = POLICY, None
        assert "was not seen while it ran" in why()
        with pytest.raises(UnfitError, match="no process of its own"):
            host.actuator.plan(repair(0))
        assert not is_gone(line.pid, line.start_ticks)
    assert not host.started
