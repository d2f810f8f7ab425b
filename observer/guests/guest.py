# SPDX-License-Identifier: Apache-2.0
"""A running Linux guest that we started, whichever process asks for it.

A process belongs to it only when its command line names a file in the guest's runtime
folder, checked under a pidfd so that no other can have taken the number meanwhile.
"""

from __future__ import annotations

import os
import select
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import ProgramError, UsageError
from observer.guests import control, qmp
from observer.guests.folder import is_kept
from observer.guests.images import GuestImage
from observer.guests.launch import SUBNETS, Files, GuestSpec, disk_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["RUNTIME", "Guest", "find_guest", "free_subnet", "guest_names"]

RUNTIME = Path("/run/observer-guests")
_RECORD = "guest.json"


def _read_pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        raise ProgramError(f"{path} names no process: the guest is not up.") from None


def gone(pidfd: int) -> bool:
    """Whether the process has ended, also where it still waits to be reaped."""
    return bool(select.select([pidfd], [], [], 0)[0])


@dataclass(frozen=True, slots=True)
class Guest:
    """What one needs to know of a running guest to look at it or to break it."""

    spec: GuestSpec
    files: Files
    image: GuestImage

    @property
    def name(self) -> str:
        """The guest's name, also in QEMU's command line."""
        return self.spec.name

    @property
    def tap(self) -> str:
        """Its network interface on the host."""
        return self.spec.tap

    @property
    def pid(self) -> int:
        """Its VMM's process number."""
        return _read_pid(self.files.pid)

    @property
    def disk_pid(self) -> int:
        """The process number of its disk's back end, also after a restart."""
        return _read_pid(self.files.disk_pid)

    @property
    def disk_command(self) -> list[str]:
        """What starts the disk's back end again."""
        return disk_command(self.spec, self.files)

    def order(self, line: str, timeout: float = control.DEADLINE_SECONDS) -> int:
        """Have the guest do something; return the CLOCK_MONOTONIC ns of its answer."""
        return control.order(self.files.control, line, timeout)

    def qmp(self, *commands: qmp.Command) -> list[Any]:
        """Ask QEMU by the monitor that is ours alone."""
        return qmp.execute(self.files.second_qmp, *commands)

    def console(self) -> str:
        """Return all that the guest has said."""
        return self.files.console.read_text(errors="replace")

    @contextmanager
    def pidfd(self, pid: int) -> Iterator[int]:
        """Hold on to a process of this guest; refuse any other."""
        refusal = UsageError(
            f"Process {pid} is not part of a test guest that we started; "
            "take one that `observer guest up` made."
        )
        try:
            held = os.pidfd_open(pid)
        except ProcessLookupError:
            raise refusal from None
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if f"{self.files.folder}/".encode() not in command or gone(held):
                raise refusal
            yield held
        finally:
            os.close(held)


class _Record(msgspec.Struct, frozen=True):
    spec: GuestSpec
    image: GuestImage


def write_record(guest: Guest) -> None:
    """Leave word of the guest for other processes."""
    record = msgspec.json.encode(_Record(guest.spec, guest.image))
    (guest.files.folder / _RECORD).write_bytes(record)


def free_subnet(runtime: Path = RUNTIME) -> int:
    """Return a number for a guest's network that no guest up here uses."""
    used = {find_guest(name, runtime).spec.subnet for name in guest_names(runtime)}
    return min(set(range(1, SUBNETS + 1)) - used)


def guest_names(runtime: Path = RUNTIME) -> list[str]:
    """Return the names of the guests that are up or coming up."""
    records = runtime.glob(f"*/{_RECORD}")
    return sorted(r.parent.name for r in records if is_kept(r.parent))


def find_guest(name: str, runtime: Path = RUNTIME) -> Guest:
    """Return the guest of that name, whoever started it."""
    record = runtime / name / _RECORD
    if name not in guest_names(runtime):
        raise UsageError(
            f"{name} is not a test guest that we started; "
            f"running ones: {', '.join(guest_names(runtime)) or 'none'}."
        )
    known = msgspec.json.decode(record.read_bytes(), type=_Record)
    return Guest(known.spec, Files(record.parent), known.image)
