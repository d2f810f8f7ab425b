# SPDX-License-Identifier: Apache-2.0
"""Starts a VM again whose VMM is gone, or hangs.

As the policy says, else by the command line that it was started with.  Never two of one
name: the old one is seen gone first, and one that has taken its place is left alone.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from observer.actuators.again import shared_sockets
from observer.actuators.launch import start, why_not_now
from observer.actuators.process import end, is_gone
from observer.errors import ProgramError, UnfitError
from observer.inventory.command_line import find_running
from observer.inventory.task import look_at_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from observer.inventory.command_line import CommandLine
    from observer.inventory.recorded import Recorded
    from observer.loops.policy import RepairPolicy
    from observer.model import Repair, Verdict, Vm

__all__ = ["RestartVm"]

LOOK_SECONDS = 0.1
LAST_CHARACTERS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what may stand in a command


async def _run(argv: Sequence[str]) -> None:
    """A program that must end well; its last words are the error."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as e:
        raise ProgramError(f"{argv[0]} cannot be run ({e.strerror}).") from e
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = " ".join(said.decode(errors="replace").split())
        raise ProgramError(
            f"{' '.join(argv)} ended with status {process.returncode}: "
            f"{words[-LAST_CHARACTERS:] or 'it said nothing'}."
        )


class RestartVm:
    """Ends what is left of a VM, and starts the next of its name."""

    def __init__(
        self,
        named: Callable[[str], Sequence[Vm]],
        recorded: Recorded,
        policy: RepairPolicy,
        *,
        proc: Path = Path("/proc"),
        start: Callable[[CommandLine], Awaitable[int]] = start,
    ) -> None:
        self._named, self._recorded = named, recorded
        self._policy, self._proc, self._start = policy, proc, start

    def _successor(self, verdict: Verdict) -> Vm | None:
        """Another VM of that name that lives, whoever has started it."""
        others = (vm for vm in self._named(verdict.vm) if vm.pid != verdict.pid)
        return next(
            (o for o in others if not is_gone(o.pid, o.start_ticks, self._proc)), None
        )

    def _line(self, verdict: Verdict) -> CommandLine:
        """Its command line; UnfitError where that cannot be given again."""
        if not self._policy.cares_for(verdict.vm):
            raise UnfitError(
                f"the policy does not care for {verdict.vm}, so its command line was "
                "not recorded: name it in repair.care, or say how in repair.restart"
            )
        line = self._recorded.of(verdict.vm, verdict.pid)
        if line is None:
            raise UnfitError(f"{verdict.vm}'s command line was not seen while it ran")
        self._check(verdict.vm, line, is_vmm=True)
        return line

    def _check(self, name: str, line: CommandLine, *, is_vmm: bool) -> None:
        way = self._policy.restart_of(name)
        vouched = way is not None and way.recorded
        why = why_not_now(line, is_vmm=is_vmm, vouched=vouched, proc=self._proc)
        if why is not None:
            what = name if is_vmm else f"{name}'s {PurePath(line.program).name}"
            raise UnfitError(
                f"{what} cannot be started by its command line: {why}; "
                "say how in repair.restart"
            )

    async def _gone_back_ends(
        self, verdict: Verdict, vmm: CommandLine
    ) -> list[CommandLine]:
        """Those that it needs, and that have died: at each socket the last one.

        UnfitError where one of them cannot be started.
        """
        needed: dict[tuple[str, ...], CommandLine] = {}
        for line in self._recorded.back_ends_of(verdict.vm, verdict.pid):
            sockets = shared_sockets(line.argv, vmm.argv)
            if paths := tuple(socket["path"] for socket in sockets):
                needed[paths] = line
        gone = [
            line
            for line in needed.values()
            if is_gone(line.pid, line.start_ticks, self._proc)
            and await asyncio.to_thread(find_running, self._proc, line) is None
        ]
        for line in gone:
            self._check(verdict.vm, line, is_vmm=False)
        return gone

    def _hook(self, name: str) -> tuple[str, ...]:
        """What the policy has run for it; nothing: its own command line."""
        way = self._policy.restart_of(name)
        argv = way.argv(name) if way is not None else ()
        if argv and not _NAME.fullmatch(name):
            raise UnfitError(f"{name!r} is no name to put into a command")
        return argv

    def _ticks(self, verdict: Verdict) -> int | None:
        """When the old process was started: its number alone may be another's."""
        for vm in self._named(verdict.vm):
            if vm.pid == verdict.pid:
                return vm.start_ticks
        line = self._recorded.of(verdict.vm, verdict.pid)
        return line.start_ticks if line is not None else None

    def _is_alive(self, verdict: Verdict) -> bool:
        """Also where it must be another's number, for all that we know."""
        ticks = self._ticks(verdict)
        if ticks is not None:
            return not is_gone(verdict.pid, ticks, self._proc)
        return not look_at_task(self._proc / str(verdict.pid)).gone

    def plan(self, repair: Repair) -> str:
        """Say whether anything is killed, and what is run."""
        verdict = repair.verdict
        if successor := self._successor(verdict):
            return f"wait for process {successor.pid}, which has taken its place"
        if argv := self._hook(verdict.vm):
            what = f"run `{' '.join(argv)}`"
        else:
            line = self._line(verdict)
            what = (
                f"start {PurePath(line.program).name} again as user {line.user} by its "
                f"own {len(line.argv)} words"
            )
        kill = f"kill process {verdict.pid}, then "
        return kill + what if self._is_alive(verdict) else what

    async def act(self, repair: Repair) -> None:
        """Do it; returns once the next one is there, or who starts it has said so."""
        verdict = repair.verdict
        if self._successor(verdict):
            return
        if argv := self._hook(verdict.vm):
            await self._end_old(verdict)
            await _run(argv)
            return
        line = self._line(verdict)
        servers = await self._gone_back_ends(verdict, line)
        await self._end_old(verdict)
        for server in servers:
            await self._start(server)
        pid = await asyncio.to_thread(find_running, self._proc, line)
        pid = pid or await self._start(line)
        await self._wait(verdict, line, pid, {server.pid for server in servers})

    async def _end_old(self, verdict: Verdict) -> None:
        ticks = self._ticks(verdict)
        if ticks is not None:
            await end(verdict.pid, ticks, self._proc)
        elif self._is_alive(verdict):
            raise UnfitError(f"process {verdict.pid} may not be {verdict.vm} any more")

    async def _wait(
        self, verdict: Verdict, line: CommandLine, pid: int, started: set[int]
    ) -> None:
        """Until it runs a guest; ProgramError where it ends before that.

        A back end may die a moment after its VM: QEMU would wait for it for good.
        """
        ticks = look_at_task(self._proc / str(pid)).start_ticks
        goes_on = "-daemonize" in line.argv or "--daemonize" in line.argv
        while not self._successor(verdict):
            if not goes_on and is_gone(pid, ticks, self._proc):
                raise ProgramError(
                    f"{line.program} ended at once: see {line.stdout} for its reason."
                )
            await asyncio.sleep(LOOK_SECONDS)
            for server in await self._gone_back_ends(verdict, line):
                if server.pid not in started:
                    started.add(server.pid)
                    await self._start(server)
