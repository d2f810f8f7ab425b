# SPDX-License-Identifier: Apache-2.0
"""Writes eventfds of a VMM's: its guest's doorbells, and its guest's interrupts.

Each is known by its `eventfd-id`, which the kernel gives to no other one while it is
there; the descriptor is taken from the very process, and looked at again before it is
written.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from observer.actuators.process import held
from observer.errors import UnfitError
from observer.inventory.descriptors import eventfd_count, read_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from observer.model import Vm

__all__ = ["write_eventfds"]

PIDFD_GETFD = 438  # the same on all architectures


def _taken(process: int, fd: int) -> int:
    """Our own descriptor of another process's file."""
    libc = ctypes.CDLL(None, use_errno=True)
    ours = int(libc.syscall(PIDFD_GETFD, process, fd, 0))
    if ours < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return ours


def _write(vm: Vm, process: int, fd: int, eventfd_id: int) -> None:
    try:
        ours = _taken(process, fd)
    except OSError as e:
        raise UnfitError(f"{vm.name} has closed its eventfd {eventfd_id} ({e})") from e
    try:
        if eventfd_count(Path("/proc"), os.getpid(), ours, eventfd_id) is None:
            raise UnfitError(f"{vm.name} has another eventfd than {eventfd_id} by now")
        os.eventfd_write(ours, 1)
    finally:
        os.close(ours)


def write_eventfds(vm: Vm, ids: Iterable[int], proc: Path = Path("/proc")) -> None:
    """Signal each of them; UnfitError where one is the VMM's no more.

    Reads all descriptors of the VMM's, which takes long: call it in a thread.
    """
    with held(vm, proc) as process:
        fds = read_descriptors(proc, vm.pid).eventfds
        for which in ids:
            if which not in fds:
                raise UnfitError(f"{vm.name} has no eventfd {which} any more")
            _write(vm, process, fds[which], which)
