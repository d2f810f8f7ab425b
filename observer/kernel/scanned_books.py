# SPDX-License-Identifier: Apache-2.0
"""The books of the scanning design: the same cells, scanned every few ms by a thread.

Exits and new subjects come through the ring buffer at once, as in the other design;
all that is late comes from the scan.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observer.errors import ProgramError
from observer.kernel.scanner import RingReading, Scanner, VcpuReading

if TYPE_CHECKING:
    from collections.abc import Callable

    from observer.kernel.books import PinnedBooks
    from observer.kernel.cells import Cells
    from observer.kernel.libbpf import Libbpf
    from observer.kernel.scanner import Limits
    from observer.model import Suspicion

__all__ = ["LOOK", "PERIOD_SECONDS", "ProgramReader", "Programs", "ScannedBooks"]

PERIOD_SECONDS = 0.005
MAX_SIBLINGS = 8  # rings of one vhost device, as in bpf/scanning.bcc.c

LOOK = np.dtype(
    [
        ("owed_ns", "u8"),
        ("waited_ns", "u8"),
        ("own_exits", "u8"),
        ("known", "u4"),
        ("asleep", "u4"),
        ("blocked", "u4"),
        ("taken", "u4"),
    ]
)
"""`struct look` of `bpf/scanning.bcc.c`."""


class Programs(msgspec.Struct, frozen=True):
    """Our own programs that are hooked nowhere: descriptors to run them by."""

    look_at_vcpu: int
    look_at_ring: int
    enter_vhost_file: int


class ProgramReader:
    """Runs them, one at a time: their answers come in the same words."""

    def __init__(self, libbpf: Libbpf, look: Cells, programs: Programs) -> None:
        self._libbpf, self._look, self._programs = libbpf, look, programs
        self._turn = threading.Lock()

    def _run(self, program: int, *arguments: int) -> None:
        self._libbpf.run(program, np.array(arguments, "u8").tobytes())

    def vcpu(self, slot: int) -> VcpuReading:
        """Read the CPU time of a vCPU."""
        with self._turn:
            self._run(self._programs.look_at_vcpu, slot)
            look = self._look[0]
            return VcpuReading(
                bool(look["known"]),
                bool(look["asleep"]),
                int(look["owed_ns"]),
                int(look["own_exits"]),
            )

    def ring(self, slot: int) -> RingReading:
        """Read how far a ring was served; a debt that was paid is closed."""
        with self._turn:
            self._run(self._programs.look_at_ring, slot)
            look = self._look[0]
            return RingReading(
                bool(look["known"]),
                bool(look["blocked"]),
                bool(look["taken"]),
                int(look["waited_ns"]),
            )

    def enter_vhost_file(self, vcpu_slot: int, fd: int) -> None:
        """Enter the rings of a vhost device that a VMM holds open."""
        for index in range(MAX_SIBLINGS):
            self._run(self._programs.enter_vhost_file, vcpu_slot, fd, index)


class ScannedBooks:
    """Maps that BCC made, and the thread that scans them."""

    def __init__(
        self,
        maps: PinnedBooks,
        reader: ProgramReader,
        limits: Limits,
        detach: Callable[[], None],
    ) -> None:
        self._maps, self._reader, self._detach = maps, reader, detach
        self.vms, self.vcpus, self.rings = maps.vms, maps.vcpus, maps.rings
        self.services, self.used = maps.services, maps.used
        self.left_out = {
            "service": "the scanning design does not keep beats",
            "consumption": "the scanning design does not see what a guest consumes",
        }
        self._scanner = Scanner(self, maps.used, limits, reader)
        self._found: deque[Suspicion] = deque()
        self._failed: Exception | None = None
        self._missed = 0
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._either = select.epoll()
        self._either.register(self._bell, select.EPOLLIN)
        self._either.register(maps.fileno(), select.EPOLLIN)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scan", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            try:
                found = self._scanner.scan(time.monotonic_ns())
            except ProgramError:
                self._missed += 1  # a second reading failed; the next pass tries again
                continue
            except Exception as e:  # noqa: BLE001 - the daemon's thread must hear of it
                self._failed = e
                os.eventfd_write(self._bell, 1)
                return
            if found:
                self._found.extend(found)
                os.eventfd_write(self._bell, 1)

    def fileno(self) -> int:
        """Readable when a suspicion wants to be heard."""
        return self._either.fileno()

    def take(self) -> list[Suspicion]:
        """Take all suspicions and notes raised since the last call."""
        with suppress(BlockingIOError):  # only the ring buffer may have something
            os.eventfd_read(self._bell)
        if self._failed is not None:
            raise ProgramError(
                f"The scan of the cells ended ({self._failed!r}): restart the "
                "observer, and report this."
            ) from self._failed
        taken = self._maps.take()
        while self._found:
            taken.append(self._found.popleft())
        return taken

    def look_at_ring(self, slot: int) -> bool:
        """Bring a vhost ring's own indices up to date; False if it is gone."""
        return self._reader.ring(slot).known

    def enter_vhost_file(self, vcpu_slot: int, fd: int) -> None:
        """Enter the rings of a vhost device that the VMM of this vCPU holds open."""
        self._reader.enter_vhost_file(vcpu_slot, fd)

    def watch_process(self, pid: int, vm_slot: int) -> None:
        """Let a back end's exit be a suspicion."""
        self._maps.watch_process(pid, vm_slot)

    def last_call_ns(self, pid: int) -> int:
        """When a watched process last called a guest; 0: never."""
        return self._maps.last_call_ns(pid)

    def forget(self, vm_slot: int) -> None:
        """Free the slots of a VM that is gone, its rings and its vCPUs."""
        self._maps.forget(vm_slot)

    def dropped(self) -> dict[str, int]:
        """What was lost in the kernel or in the scan, by reason."""
        return {**self._maps.dropped(), "scan": self._missed}

    def close(self, *, detach: bool) -> None:
        """Let go; the programs leave the kernel in any case: BCC pins none."""
        del detach
        self._stop.set()
        self._thread.join()
        self._either.close()
        os.close(self._bell)
        self._detach()
        self._maps.close(detach=True)
