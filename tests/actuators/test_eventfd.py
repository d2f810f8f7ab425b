# SPDX-License-Identifier: Apache-2.0
"""Eventfds of another process, which says itself how often each was written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.actuators.eventfd import write_eventfds
from observer.errors import UnfitError
from observer.inventory.descriptors import read_descriptors
from observer.inventory.task import look_at_task
from observer.model import Vm

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")
HOLDER = """
import os, sys
held = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]
print(*held, flush=True)
for line in sys.stdin:
    found = []
    for fd in held:
        try:
            found.append(os.eventfd_read(fd))
        except BlockingIOError:
            found.append(0)
    print(*found, flush=True)
"""


class Holder:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.fds = self._numbers()
        ticks = look_at_task(PROC / str(process.pid)).start_ticks
        self.vm = Vm(process.pid, ticks, "web", 0)

    def _numbers(self) -> list[int]:
        assert self._process.stdout is not None
        return [int(word) for word in self._process.stdout.readline().split()]

    def taken(self) -> list[int]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._numbers()

    def id_of(self, fd: int) -> int:
        held = read_descriptors(PROC, self.vm.pid).eventfds
        (found,) = (which for which, its in held.items() if its == fd)
        return found


@pytest.fixture
def holder() -> Iterator[Holder]:
    """A process with three of them."""
    argv, pipe = [sys.executable, "-c", HOLDER], subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        yield Holder(process)
        process.kill()


def test_the_one_that_is_meant_is_written_once(holder: Holder) -> None:
    """By its id: the others stay as they were."""
    write_eventfds(holder.vm, [holder.id_of(holder.fds[1])])

    assert holder.taken() == [0, 1, 0]


def test_one_that_is_not_there_is_refused(holder: Holder) -> None:
    """And so is a process that only has the number of the one that was meant."""
    ids = [holder.id_of(fd) for fd in holder.fds]
    with pytest.raises(UnfitError, match="has no eventfd"):
        write_eventfds(holder.vm, [max(ids) + 100_000])
    other = msgspec.structs.replace(holder.vm, start_ticks=1)
    with pytest.raises(UnfitError, match="is not web any more"):
        write_eventfds(other, ids)

    assert holder.taken() == [0, 0, 0]
