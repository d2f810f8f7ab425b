# SPDX-License-Identifier: Apache-2.0
"""A VM is ended and started again; its VMM is a program of that name, which rests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.actuators.process import KillVmm, is_gone
from observer.actuators.vm import RestartVm
from observer.clock import SECOND
from observer.errors import ProgramError, UnfitError
from observer.inventory.task import look_at_task
from observer.loops.policy import RepairPolicy, Restart
from observer.model import Repair, Step, StepKind, Verdict, VerdictKind, Vm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.inventory.command_line import CommandLine

    Running = Callable[..., Iterator[CommandLine]]

PROC = Path("/proc")
VMM = "qemu-system-x86_64"
VOUCHED = RepairPolicy(care=("web",), restart={"web": Restart(recorded=True)})


def vm_of(line: CommandLine, pid: int | None = None) -> Vm:
    pid = pid or line.pid
    return Vm(pid, look_at_task(PROC / str(pid)).start_ticks, "web", 0)


def repair(pid: int, name: str = "web") -> Repair:
    kind = VerdictKind.VMM_CRASHED
    verdict = Verdict("", 0, name, name, kind, 0, 0, "", "", pid)
    return Repair(verdict, Step(StepKind.RESTART_VM, SECOND), 1)


@dataclass
class Host:
    """The VMs there are, what is known of them, and what was started."""

    line: CommandLine | None
    policy: RepairPolicy = VOUCHED
    vms: list[Vm] = field(default_factory=list)
    started: list[CommandLine] = field(default_factory=list)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ends_at_once: bool = False
    back_ends: list[CommandLine] = field(default_factory=list)

    def back_ends_of(self, _vm: str, _vmm: int) -> list[CommandLine]:
        return self.back_ends

    def of(self, _vm: str, pid: int) -> CommandLine | None:
        return self.line if self.line and self.line.pid == pid else None

    async def start(self, line: CommandLine) -> int:
        """The next one is seen a little later, as the watch sees it."""
        self.started.append(line)
        argv = ["true"] if self.ends_at_once else ["sleep", "60"]
        child = subprocess.Popen(argv)  # noqa: ASYNC220 - at once
        self.children.append(child)
        if not self.ends_at_once and line == self.line:
            next_one = vm_of(line, child.pid)
            asyncio.get_running_loop().call_later(0.01, self.vms.append, next_one)
        return child.pid

    @property
    def actuator(self) -> RestartVm:
        named = lambda name: [vm for vm in self.vms if vm.name == name]  # noqa: E731
        return RestartVm(named, self, self.policy, start=self.start)  # type: ignore[arg-type]

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()


@pytest.fixture
def host() -> Iterator[Host]:
    one = Host(None)
    yield one
    one.close()


def test_one_that_lives_is_ended_before_the_next_is_started(
    host: Host, running: Running
) -> None:
    """A plan says both, and does neither."""
    with running(VMM) as line:
        host.line, host.vms = line, [vm_of(line)]
        order = repair(line.pid)

        said = host.actuator.plan(order)
        assert f"kill process {line.pid}, then start {VMM} again as user" in said
        assert not is_gone(line.pid, line.start_ticks)
        asyncio.run(host.actuator.act(order))

        assert is_gone(line.pid, line.start_ticks)
        assert host.started == [line]


def test_one_that_is_there_already_is_not_started_twice(
    host: Host, running: Running
) -> None:
    """Whoever has started it: known as a VM, or by its words alone."""
    with running(VMM) as line, running(VMM) as twin:
        host.line = line
        host.vms = [vm_of(line), vm_of(twin)]
        assert f"wait for process {twin.pid}" in host.actuator.plan(repair(line.pid))
        asyncio.run(host.actuator.act(repair(line.pid)))
        assert not is_gone(line.pid, line.start_ticks)

        host.vms = [vm_of(line)]

        async def seen_later() -> None:
            act = asyncio.create_task(host.actuator.act(repair(line.pid)))
            while not is_gone(line.pid, line.start_ticks):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            host.vms.append(vm_of(twin))
            await act

        asyncio.run(asyncio.wait_for(seen_later(), 30))
        assert not is_gone(twin.pid, twin.start_ticks)
    assert not host.started


def test_a_back_end_that_has_died_with_it_is_started_first(
    host: Host, running: Running
) -> None:
    """Else QEMU would wait for it; one that lives is left alone, another VM's too."""
    words = ("--export", "addr.path=/run/d")
    with running("qemu-storage-daemon", *words) as dead:
        pass
    with running("qemu-storage-daemon", "--export", "addr.path=/run/e") as other:
        pass
    with (
        running("qemu-storage-daemon", "--export", "addr.path=/run/f") as alive,
        running(
            VMM, "-chardev", "socket,path=/run/d", "-chardev", "socket,path=/run/f"
        ) as line,
    ):
        host.line = line
        before = msgspec.structs.replace(dead, argv=(*dead.argv, "--old"))
        host.back_ends = [alive, before, dead, other]
        asyncio.run(host.actuator.act(repair(line.pid)))

        assert [started.argv for started in host.started] == [dead.argv, line.argv]
        assert not is_gone(alive.pid, alive.start_ticks)

    with running(VMM, "-chardev", "socket,path=/run/d") as line:
        host.line, host.vms = line, []
        host.back_ends = [msgspec.structs.replace(dead, differs="it is in a root")]
        with pytest.raises(UnfitError, match="web's qemu-storage-daemon cannot be"):
            asyncio.run(host.actuator.act(repair(line.pid)))
        assert not is_gone(line.pid, line.start_ticks)


def test_a_back_end_that_dies_after_it_is_started_once_it_has(
    host: Host, running: Running
) -> None:
    """Both were killed, and it was not gone yet when its VM was started again."""
    with (
        running("qemu-storage-daemon", "--export", "addr.path=/run/d") as dying,
        running(VMM, "-chardev", "socket,path=/run/d") as line,
    ):
        host.line, host.back_ends = line, [dying]

        async def start_as_qemu_does(started: CommandLine) -> int:
            """It waits for its back end before it runs a guest."""
            if started is line:
                os.kill(dying.pid, signal.SIGKILL)
                child = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 - at once
                host.children.append(child)
                return child.pid
            host.vms.append(vm_of(line, host.children[0].pid))
            return await host.start(started)

        named = lambda _name: host.vms  # noqa: E731
        restart = RestartVm(named, host, VOUCHED, start=start_as_qemu_does)  # type: ignore[arg-type]
        asyncio.run(asyncio.wait_for(restart.act(repair(line.pid)), 30))

    assert [started.argv for started in host.started] == [dying.argv]


def test_one_that_ends_at_once_is_an_error(host: Host, running: Running) -> None:
    """The log that it wrote to says why."""
    with running(VMM) as line:
        host.line = msgspec.structs.replace(line, stdout="/var/log/web.log")
        host.ends_at_once = True
        with pytest.raises(ProgramError, match=r"ended at once: see /var/log/web\.log"):
            asyncio.run(host.actuator.act(repair(line.pid)))


def test_the_policy_says_how_before_the_command_line_does(
    host: Host, running: Running, tmp_path: Path
) -> None:
    """As a list of words that no shell reads, with the VM's name in it."""
    made = tmp_path / "web; x"
    way = Restart(command=("touch", f"{tmp_path}/{{vm}}; x"))
    host.policy = RepairPolicy(restart={"we*": way})
    with running(VMM) as line:
        host.vms = [vm_of(line)]
        assert f"kill process {line.pid}, then run `touch {made}`" == (
            host.actuator.plan(repair(line.pid))
        )
        asyncio.run(host.actuator.act(repair(line.pid)))
        assert is_gone(line.pid, line.start_ticks)
    assert made.exists()
    assert not host.started


@pytest.mark.parametrize(
    ("way", "argv"),
    [
        (Restart(unit="qemu@{vm}.service"), "systemctl restart -- qemu@web.service"),
        (Restart(domain="{vm}"), "virsh start --domain web"),
    ],
)
def test_units_and_domains_are_started_by_their_own_tools(
    host: Host, way: Restart, argv: str
) -> None:
    """Of a VM that is gone nothing is killed."""
    host.policy = RepairPolicy(restart={"web": way})
    assert host.actuator.plan(repair(2**22 + 1)) == f"run `{argv}`"


def test_a_command_that_fails_is_an_error(host: Host) -> None:
    """With its own last words."""
    host.policy = RepairPolicy(restart={"web": Restart(command=("ls", "/none/{vm}"))})
    with pytest.raises(ProgramError, match=r"ended with status 2: .*/none/web"):
        asyncio.run(host.actuator.act(repair(2**22 + 1)))
    host.policy = RepairPolicy(restart={"web": Restart(command=("/none/such",))})
    with pytest.raises(ProgramError, match="cannot be run"):
        asyncio.run(host.actuator.act(repair(2**22 + 1)))


@pytest.mark.parametrize("name", ["--all", "web/../x", "a b", ""])
def test_a_name_that_is_more_than_a_word_is_put_into_no_command(
    host: Host, name: str
) -> None:
    """Whoever runs a VM gives it its name."""
    host.policy = RepairPolicy(restart={"*": Restart(domain="{vm}")})
    with pytest.raises(UnfitError, match="is no name to put into a command"):
        host.actuator.plan(repair(2**22 + 1, name))


def test_a_number_that_may_be_anothers_is_not_killed(
    host: Host, running: Running
) -> None:
    """It is not known when the old VMM was started: it left no record."""
    host.policy = RepairPolicy(restart={"web": Restart(command=("true",))})
    with running(VMM) as line:
        with pytest.raises(UnfitError, match="may not be web any more"):
            asyncio.run(host.actuator.act(repair(line.pid)))
        assert not is_gone(line.pid, line.start_ticks)


def test_who_cannot_be_started_again_is_left_as_it_is(
    host: Host, running: Running
) -> None:
    """Not cared for, not seen, or with a reason; what hangs then hangs on."""
    with running(VMM, "-S") as line:
        host.line, host.vms = line, [vm_of(line)]
        with pytest.raises(UnfitError, match=r"started stopped.*say how in repair\."):
            asyncio.run(host.actuator.act(repair(line.pid)))
        host.policy = RepairPolicy(restart=VOUCHED.restart)
        with pytest.raises(UnfitError, match="does not care for web"):
            asyncio.run(host.actuator.act(repair(line.pid)))
        host.policy, host.line = VOUCHED, None
        with pytest.raises(UnfitError, match="was not seen while it ran"):
            host.actuator.plan(repair(line.pid))
        assert not is_gone(line.pid, line.start_ticks)
    assert not host.started


def test_a_vmm_is_killed_where_somebody_else_starts_it(running: Running) -> None:
    """The very one of the verdict."""
    with running(VMM) as line:
        vm = vm_of(line)
        kill = KillVmm(lambda _: vm)
        with pytest.raises(UnfitError, match="not the VM any more"):
            asyncio.run(kill.act(repair(line.pid + 1)))
        assert kill.plan(repair(line.pid)) == f"kill web, process {line.pid}"
        assert not is_gone(line.pid, line.start_ticks)
        asyncio.run(kill.act(repair(line.pid)))
        assert is_gone(line.pid, line.start_ticks)
