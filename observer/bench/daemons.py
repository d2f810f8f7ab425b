# SPDX-License-Identifier: Apache-2.0
"""Our own two designs as tools that observe exits: the daemon, with all programs.

How many exits it saw, its cells tell, which any process may map.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from observer.config import Policy
from observer.demo.voice import observer_running
from observer.errors import ProgramError
from observer.guests.waiting import wait_until
from observer.kernel.cells import LIMITS, VCPU, map_cells
from observer.kernel.libbpf import Libbpf
from observer.kernel.pins import layout_tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.bench.tool import Tool
    from observer.demo.voice import Voice

__all__ = ["SCANNING", "SLEEPING", "Design", "daemon_pid"]

SEE_SECONDS = 60.0


class Design:
    """One of our designs: options of the daemon, and where its vCPU cells are."""

    def __init__(self, books: Path, *options: str) -> None:
        self._vcpus, self._options = books / "vcpus", options

    @contextmanager
    def start(self, folder: Path) -> Iterator[Tool]:
        """Run the daemon while the block does; armed when it begins."""
        with observer_running(folder / "observer.log", *self._options) as voice:
            yield _Daemon(voice, self._vcpus)


class _Daemon:
    def __init__(self, voice: Voice, vcpus: Path) -> None:
        self._voice = voice
        fd = Libbpf().get_pinned(vcpus)
        if fd is None:
            raise ProgramError(f"{vcpus} is missing: the daemon keeps no books.")
        self._cells = map_cells(fd, VCPU, LIMITS["vcpus"])
        self._before = 0

    def _own_exits(self) -> int:
        return int(self._cells["own_exits"].sum())

    def wait_until_sees(self, vm: str) -> None:
        wait_until(
            lambda: f"vm: {vm} " in self._voice.notes(),
            SEE_SECONDS,
            f"the observer saw {vm}",
        )
        self._before = self._own_exits()

    def count(self) -> int:
        return self._own_exits() - self._before


def _bpffs() -> Path:
    return Path(Policy().paths.bpffs)


def daemon_pid(runtime: Path | None = None) -> int:
    """The process that holds the host's lock."""
    return int(((runtime or Path(Policy().paths.runtime)) / "lock").read_text())


SLEEPING = Design(_bpffs() / f"books-{layout_tag()}")
SCANNING = Design(
    _bpffs().with_name(f"{_bpffs().name}-scanning") / "books", "--loader", "bcc"
)
