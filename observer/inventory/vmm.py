# SPDX-License-Identifier: Apache-2.0
"""A VMM's process: which VM it runs, on which taps, with which back ends.

A back end is whoever holds an eventfd of the VMM's.  That finds vhost-user daemons
without asking them, and without knowing their sockets.
"""

from __future__ import annotations

import os
import uuid
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from observer.inventory.descriptors import Descriptors, read_descriptors
from observer.inventory.procfs import read_proc
from observer.inventory.task import look_at_task
from observer.model import BackEnd, Vm

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = [
    "find_back_ends",
    "name_of",
    "program_of",
    "qmp_of",
    "read_vm",
    "read_vms",
    "uuid_of",
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


def find_back_ends(
    proc: Path, held: Mapping[int, Descriptors], vmms: Collection[int] = ()
) -> dict[int, dict[int, Descriptors]]:
    """For each VMM the other processes that share an eventfd with it; one scan.

    `held` is what the VMMs hold; what the others hold comes back with them.  `vmms`
    are VMMs too, which are no back ends.
    """
    owners = {which: pid for pid, its in held.items() for which in its.eventfds}
    found: dict[int, dict[int, Descriptors]] = {pid: {} for pid in held}
    for name in os.listdir(proc):  # noqa: PTH208 - of thousands
        if not name.isdigit() or (pid := int(name)) in held or pid in vmms:
            continue
        its = read_descriptors(proc, pid)
        for which in its.eventfds.keys() & owners.keys():
            found[owners[which]][pid] = its
    return found


def read_vm(proc: Path, pid: int, slot: int, taps: tuple[str, ...]) -> Vm | None:
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
    again = look_at_task(folder)
    if again.start_ticks != start or again.gone or not start:
        return None
    return Vm(pid, start, name, slot, taps, qmp_of(argv), user=user, uuid=uuid_of(argv))


def _as_it_was(proc: Path, pid: int, before: Vm | None) -> Vm | None:
    """What a process was that is gone, or about to be; None if it is not that one."""
    task = look_at_task(proc / str(pid))
    if before is None or task.start_ticks not in (0, before.start_ticks):
        return None
    return before if task.gone else None


def read_vms(
    proc: Path,
    slots: Mapping[int, int],
    before: Mapping[int, Vm],
    vmms: Collection[int] = (),
) -> tuple[list[Vm], dict[int, Descriptors]]:
    """Read the VMs of these processes; those that are gone as they were `before`.

    Also what they and their back ends hold open, by process.  `vmms` are all there
    are: none is a back end, so that one VM more is read without reading the others.
    """
    held = {pid: read_descriptors(proc, pid) for pid in slots}
    others = find_back_ends(proc, held, vmms)
    found = []
    for pid, slot in slots.items():
        if was := _as_it_was(proc, pid, before.get(pid)):
            found.append(msgspec.structs.replace(was, slot=slot))
        elif vm := read_vm(proc, pid, slot, held[pid].taps):
            names = (BackEnd(p, program_of(proc, p)) for p in sorted(others[pid]))
            found.append(msgspec.structs.replace(vm, back_ends=tuple(names)))
    for its in others.values():
        held.update(its)
    return found, held
