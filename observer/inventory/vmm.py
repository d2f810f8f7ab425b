# SPDX-License-Identifier: Apache-2.0
"""A VMM's process: which VM it runs, on which taps, with which back ends.

A back end is whoever holds an eventfd of the VMM's: every ring has two, and
/proc/PID/fdinfo gives each its `eventfd-id`.  That finds vhost-user daemons without
asking them, and without knowing their sockets.
"""

from __future__ import annotations

import re
import uuid
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from observer.inventory.procfs import read_proc
from observer.inventory.task import look_at_task
from observer.model import BackEnd, Vm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "eventfd_count",
    "eventfds",
    "find_back_ends",
    "name_of",
    "parse_eventfd",
    "program_of",
    "qmp_of",
    "read_vm",
    "read_vms",
    "taps_of",
    "uuid_of",
    "vhost_fds",
]


def name_of(argv: list[str], comm: str, pid: int) -> str:
    """Name a VM by `-name NAME` or `-name guest=NAME,…`, else by program and pid."""
    for option, value in pairwise(argv):
        if option in ("-name", "--name"):
            pairs = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
            first = value.split(",", 1)[0]
            return pairs.get("guest") or (first if "=" not in first else comm)
    return f"{comm}-{pid}"


def uuid_of(argv: list[str]) -> str | None:
    """Give the UUID of `-uuid`, as libvirt passes it too; None without a sound one."""
    for option, value in pairwise(argv):
        if option in ("-uuid", "--uuid"):
            try:
                return str(uuid.UUID(value))
            except ValueError:
                return None
    return None


def qmp_of(argv: list[str]) -> str | None:
    """Give the path of a QMP socket that the command line names."""
    chardevs, monitors = {}, []
    for option, value in pairwise(argv):
        parts = value.split(",")
        pairs = dict(part.split("=", 1) for part in parts if "=" in part)
        if option in ("-qmp", "--qmp") and value.startswith("unix:"):
            return parts[0].removeprefix("unix:")
        if option in ("-chardev", "--chardev") and parts[0] == "socket":
            chardevs[pairs.get("id", "")] = pairs.get("path")
        if option in ("-mon", "--mon") and pairs.get("mode") == "control":
            monitors.append(pairs.get("chardev", ""))
    return next((chardevs[m] for m in monitors if chardevs.get(m)), None)


def program_of(proc: Path, pid: int) -> str:
    """Give the name of a process's program, `?` if it is gone.

    A kernel thread has no program, only a name; `comm` cuts names at 15 characters.
    """
    folder = proc / str(pid)
    try:
        comm = read_proc(folder / "comm").strip()
    except (FileNotFoundError, ProcessLookupError):
        return "?"
    try:
        program = (folder / "exe").readlink().name
    except OSError:
        return comm
    return program if program.startswith(comm) else comm


def _fdinfos(proc: Path, pid: int) -> Iterator[tuple[int, str]]:
    """Each descriptor and its fdinfo; what closes meanwhile is passed over."""
    try:
        infos = sorted((proc / str(pid) / "fdinfo").iterdir(), key=_number)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    for info in infos:
        try:
            yield int(info.name), read_proc(info)
        except (FileNotFoundError, ProcessLookupError):
            continue


def taps_of(proc: Path, pid: int) -> tuple[str, ...]:
    """Names of the tap interfaces that a process holds, each once."""
    infos = (text for _fd, text in _fdinfos(proc, pid))
    found = (re.search(r"^iff:[ \t]*(\S+)", text, re.MULTILINE) for text in infos)
    return tuple(dict.fromkeys(m[1] for m in found if m))


def vhost_fds(proc: Path, pid: int) -> list[int]:
    """Descriptors of the vhost-net devices that a process holds."""
    found = []
    try:
        fds = list((proc / str(pid) / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    for fd in fds:
        try:
            if str(fd.readlink()) == "/dev/vhost-net":
                found.append(int(fd.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def parse_eventfd(text: str) -> tuple[int, int] | None:
    """Id and count not yet read, of `eventfd_show_fdinfo`; None for other files."""
    count = re.search(r"^eventfd-count:\s*([0-9a-f]+)", text, re.MULTILINE)
    which = re.search(r"^eventfd-id:\s*(\d+)", text, re.MULTILINE)
    return (int(which[1]), int(count[1], 16)) if count and which else None


def eventfds(proc: Path, pid: int) -> dict[int, int]:
    """Eventfds of a process: id -> descriptor."""
    parsed = ((fd, parse_eventfd(text)) for fd, text in _fdinfos(proc, pid))
    return {eventfd[0]: fd for fd, eventfd in parsed if eventfd}


def eventfd_count(proc: Path, pid: int, fd: int, eventfd_id: int) -> int | None:
    """Count of an eventfd; None if that descriptor is another one by now."""
    try:
        text = read_proc(proc / str(pid) / "fdinfo" / str(fd))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    eventfd = parse_eventfd(text)
    return eventfd[1] if eventfd and eventfd[0] == eventfd_id else None


def _has_eventfd(proc: Path, pid: int) -> bool:
    try:
        fds = list((proc / str(pid) / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    for fd in fds:
        try:
            if str(fd.readlink()) == "anon_inode:[eventfd]":
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


def find_back_ends(proc: Path, pids: Iterable[int]) -> dict[int, tuple[BackEnd, ...]]:
    """For each VMM the other processes that share an eventfd with it; one scan."""
    owners: dict[int, int] = {}
    for pid in pids:
        owners.update(dict.fromkeys(eventfds(proc, pid), pid))
    found: dict[int, dict[int, BackEnd]] = {pid: {} for pid in pids}
    for entry in proc.iterdir():
        if not entry.name.isdigit() or int(entry.name) in found:
            continue
        pid = int(entry.name)
        if not _has_eventfd(proc, pid):
            continue
        for which in eventfds(proc, pid):
            if which in owners:
                found[owners[which]][pid] = BackEnd(pid, program_of(proc, pid))
    return {pid: tuple(sorted(b.values(), key=_pid)) for pid, b in found.items()}


def _number(path: Path) -> int:
    return int(path.name)


def _pid(back_end: BackEnd) -> int:
    return back_end.pid


def read_vm(proc: Path, pid: int, slot: int) -> Vm | None:
    """Read all but the back ends; None if the process is gone, or vanished meanwhile.

    One that nobody has reaped has no command line any more, and so no name.
    """
    folder = proc / str(pid)
    look = look_at_task(folder)
    if look.gone:
        return None
    start = look.start_ticks
    try:
        argv = read_proc(folder / "cmdline").split("\0")
        user = folder.stat().st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = name_of(argv, program_of(proc, pid), pid)
    qmp, taps = qmp_of(argv), taps_of(proc, pid)
    again = look_at_task(folder)
    if again.start_ticks != start or again.gone or not start:
        return None
    return Vm(pid, start, name, slot, taps, qmp, user=user, uuid=uuid_of(argv))


def _as_it_was(proc: Path, pid: int, before: Vm | None) -> Vm | None:
    """What a process was that is gone, or about to be; None if it is not that one."""
    task = look_at_task(proc / str(pid))
    if before is None or task.start_ticks not in (0, before.start_ticks):
        return None
    return before if task.gone else None


def read_vms(
    proc: Path, slots: Mapping[int, int], before: Mapping[int, Vm]
) -> list[Vm]:
    """Read the VMs of these processes; those that are gone as they were `before`."""
    back_ends = find_back_ends(proc, slots)
    found = []
    for pid, slot in slots.items():
        if was := _as_it_was(proc, pid, before.get(pid)):
            found.append(msgspec.structs.replace(was, slot=slot))
        elif vm := read_vm(proc, pid, slot):
            found.append(msgspec.structs.replace(vm, back_ends=back_ends[pid]))
    return found
