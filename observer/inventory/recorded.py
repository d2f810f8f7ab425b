# SPDX-License-Identifier: Apache-2.0
"""The command lines of those whom the policy cares for, kept for when they are gone.

In a file of root's alone, for a command line may hold a secret; of this boot alone, for
the next one has other processes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from observer.database import Database
from observer.errors import HostError
from observer.inventory.command_line import CommandLine, read_command_line
from observer.inventory.task import look_at_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from observer.model import Vm

__all__ = ["Recorded"]

_SCHEMA = """
create table if not exists command_lines (
    id integer primary key,
    boot text not null,
    vm text not null,
    pid integer not null,
    vmm integer not null,      -- the life of the VM that it belongs to
    body text not null         -- the command line, in JSON
);
create index if not exists of_vm on command_lines (vm, pid);
"""
KEPT = 16
"""So many are remembered for each VM: its VMM's and its back ends', and their last."""
SEEN = 4096
_FORGET = (
    "delete from command_lines where vm = ? and id not in "
    "(select id from command_lines where vm = ? order by id desc limit ?)"
)


class Recorded:
    """Reads the command line of each process once, in a thread."""

    def __init__(
        self,
        path: Path,
        boot: str,
        proc: Path,
        on_error: Callable[[str], None],
    ) -> None:
        self._boot, self._proc, self._on_error = boot, proc, on_error
        self._rows = Database(path, _SCHEMA)
        self._rows.write("delete from command_lines where boot != ?", boot)
        self._seen: set[tuple[int, int, int]] = set()
        self._reading: set[asyncio.Task[None]] = set()

    def see(self, vm: Vm) -> None:
        """Record a VM's VMM and its back ends, those that are new."""
        for pid in (vm.pid, *(b.pid for b in vm.back_ends)):
            ticks = look_at_task(self._proc / str(pid)).start_ticks
            process = vm.pid, pid, ticks
            if not ticks or process in self._seen:
                continue
            if len(self._seen) >= SEEN:
                self._seen.clear()  # those that live are read again
            self._seen.add(process)
            task = asyncio.create_task(self._record(vm, pid, ticks))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _record(self, vm: Vm, pid: int, ticks: int) -> None:
        line = await asyncio.to_thread(read_command_line, self._proc, pid, ticks)
        if line is None:
            return
        body = msgspec.json.encode(line).decode()
        try:
            self._rows.write(
                "insert into command_lines (boot, vm, vmm, pid, body) "
                "values (?, ?, ?, ?, ?)",
                *(self._boot, vm.name, vm.pid, pid, body),
            )
            self._rows.write(_FORGET, vm.name, vm.name, KEPT)
        except HostError as e:
            self._on_error(e.message)

    def _read(self, words: str, *values: object) -> list[tuple[Any, ...]]:
        """What cannot be read is not known; the repair then says so."""
        try:
            return self._rows.read(words, *values)
        except HostError as e:
            self._on_error(e.message)
            return []

    def of(self, vm: str, pid: int) -> CommandLine | None:
        """The command line of a process of that VM, dead or alive."""
        rows = self._read(
            "select body from command_lines where vm = ? and pid = ? and boot = ? "
            "order by id desc limit 1",
            *(vm, pid, self._boot),
        )
        return msgspec.json.decode(rows[0][0], type=CommandLine) if rows else None

    def back_ends_of(self, vm: str, vmm: int) -> list[CommandLine]:
        """Those that have served that life of the VM, the oldest first."""
        rows = self._read(
            "select body from command_lines where vm = ? and vmm = ? and pid != vmm "
            "and boot = ? order by id",
            *(vm, vmm, self._boot),
        )
        return [msgspec.json.decode(body, type=CommandLine) for (body,) in rows]

    def close(self) -> None:
        """Stop reading, and let go of the file."""
        for task in self._reading:
            task.cancel()
        self._rows.close()
