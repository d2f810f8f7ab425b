# SPDX-License-Identifier: Apache-2.0
"""Many VMs on one host: `experiments/scale/tiny_vmm`, one process each.

They are real ones, four vCPUs and eight rings each, of some 100 KiB; what is missing is
the machine round them.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from observer.errors import HostError, ProgramError
from observer.guests.waiting import wait_until
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["RINGS", "TICK_MS", "VCPUS", "TinyVm", "TinyVms", "program", "tiny_vms"]

VCPUS, RINGS = 4, 8
TICK_MS = 2000
START_SECONDS = 300.0


def program() -> Path:
    """Where the VMM is built; `HostError` if it is not."""
    path = checkout() / "build/experiments/scale/tiny_vmm"
    if not path.exists():
        raise HostError(f"{path} is missing: run `make ready`.")
    return path


class TinyVm:
    """One of them, by its process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name, self._process = name, process
        self._served = True

    @property
    def pid(self) -> int:
        """Of its VMM."""
        return self._process.pid

    def kick_every_ring(self) -> None:
        """Let the guest kick each ring once; whoever watches knows them from then."""
        self._process.send_signal(signal.SIGUSR1)

    def be_late(self) -> None:
        """Let the guest kick its last ring, which nobody serves from now on."""
        if self._served:
            self._process.send_signal(signal.SIGUSR2)
            self._served = False

    def serve(self) -> None:
        """Serve that ring again."""
        if not self._served:
            self._process.send_signal(signal.SIGUSR2)
            self._served = True

    def kill(self) -> None:
        """End its VMM."""
        self._process.kill()

    def wait(self) -> None:
        """Return once it is gone."""
        self._process.wait()


class TinyVms:
    """Those of a host, in the order in which they were started."""

    def __init__(self, folder: Path, tick_ms: int) -> None:
        self.all: list[TinyVm] = []
        self._log, self._tick_ms = folder / "tiny.log", tick_ms
        self._up = 0
        self._said, self._to = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._said, False)

    def start(self, count: int) -> list[TinyVm]:
        """Start so many more; all are up when it returns."""
        new = range(len(self.all), len(self.all) + count)
        with self._log.open("ab") as errors:
            self.all.extend(self._start(f"tiny{number}", errors) for number in new)
        wait_until(self._all_are_up, START_SECONDS, f"{len(self.all)} VMs were up")
        return self.all[new.start :]

    def _start(self, name: str, errors: BinaryIO) -> TinyVm:
        words = ["-name", f"guest={name}", "-tick", str(self._tick_ms)]
        process = subprocess.Popen(
            [str(program()), *words],
            stdin=subprocess.DEVNULL,
            stdout=self._to,
            stderr=errors,
        )
        return TinyVm(name, process)

    def _all_are_up(self) -> bool:
        """Each says a line; all that were started hold the other end."""
        try:
            self._up += os.read(self._said, 1 << 16).count(b"\n")
        except BlockingIOError:
            if said := self._log.read_text().strip():
                raise ProgramError(f"A tiny VM ended: {said[-300:]}") from None
        return self._up == len(self.all)

    def end(self) -> None:
        """End all of them, side by side: it takes the kernel a while."""
        for vm in self.all:
            vm.kill()
        for vm in self.all:
            vm.wait()
        os.close(self._said)
        os.close(self._to)


@contextmanager
def tiny_vms(folder: Path, tick_ms: int = TICK_MS) -> Iterator[TinyVms]:
    """A host of none yet; those that are started end with the block.

    Their guests halt for `tick_ms`, with 0 for good.
    """
    vms = TinyVms(folder, tick_ms)
    try:
        yield vms
    finally:
        vms.end()
