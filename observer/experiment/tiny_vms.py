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
from typing import TYPE_CHECKING

from observer.errors import HostError, ProgramError
from observer.guests.waiting import wait_until
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["RINGS", "TICK_MS", "VCPUS", "TinyVm", "program", "tiny_vms"]

VCPUS, RINGS = 4, 8
TICK_MS = 300
"""A guest that halts so often gives its signs of life in time, unasked."""
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

    def end(self) -> None:
        """End it, and wait until it is gone."""
        self._process.wait()


def _start(name: str, words: Sequence[str], stdout: int, log: Path) -> TinyVm:
    argv = [str(program()), "-name", f"guest={name}", *words]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors
        )
    return TinyVm(name, process)


def _wait_until_up(said: int, count: int, log: Path) -> None:
    """Each says a line; all that were started hold the other end."""
    lines = 0

    def all_up() -> bool:
        nonlocal lines
        try:
            lines += os.read(said, 1 << 16).count(b"\n")
        except BlockingIOError:
            if errors := log.read_text().strip():
                raise ProgramError(f"A tiny VM ended: {errors[-300:]}") from None
        return lines == count

    wait_until(all_up, START_SECONDS, f"{count} tiny VMs were up")


def _words(name: str, tick_ms: int, *, nic: bool) -> list[str]:
    return ["-tick", str(tick_ms), *(("-tap", name) if nic else ())]


@contextmanager
def tiny_vms(
    count: int,
    folder: Path,
    tick_ms: int = TICK_MS,
    *,
    nic: bool = False,
    prefix: str = "tiny",
) -> Iterator[list[TinyVm]]:
    """Run so many VMs while the block does; all are up when it begins.

    Their guests halt for `tick_ms`, with 0 for good; with `nic` vhost serves two of
    the rings, and each has a tap of its name.
    """
    vms: list[TinyVm] = []
    said, to = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(said, False)
    log = folder / f"{prefix}.log"
    log.touch()
    try:
        names = (f"{prefix}{number}" for number in range(count))
        vms.extend(_start(n, _words(n, tick_ms, nic=nic), to, log) for n in names)
        _wait_until_up(said, count, log)
        yield vms
    finally:
        for vm in vms:
            vm.kill()
        for vm in vms:
            vm.end()
        os.close(said)
        os.close(to)
