# SPDX-License-Identifier: Apache-2.0
"""What a workload is: what its guest needs, and how to have it work for a while."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from observer.errors import DeadlineError, ProgramError
from observer.experiment.spread import Answer, Spread
from observer.guests.linux import last_words, linux_guest
from observer.guests.programs import with_programs
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage
    from observer.guests.launch import GuestSpec

__all__ = ["Kit", "Workload", "WorkloadSample", "workload_guest"]

SERVES_SECONDS = 60.0
CONNECT_SECONDS = 2.0
# A neighbour is asked for once: no packet of the kernel's own in a window.
QUIET = """\
mkdir -p /tmp
echo 3600000 >/proc/sys/net/ipv4/neigh/eth0/base_reachable_time_ms
"""


@dataclass(frozen=True)
class Kit:
    """What goes into a guest's first root."""

    programs: tuple[str, ...] = ()
    """Of this machine, with their libraries, to lie where they lie here."""
    start: str = ""
    """Shell lines that run in the guest before it is up."""

    def __add__(self, other: Kit) -> Kit:
        return Kit(self.programs + other.programs, self.start + other.start)


class WorkloadSample(msgspec.Struct, frozen=True):
    """How well a guest worked in one window."""

    unit: str
    """Of the throughput, with what was asked for where that is no time."""
    throughput: float | None
    seconds: float
    spread: Spread | None = None
    answers: list[Answer] | None = None
    """Raw, where the workload tells each request."""


class Workload(Protocol):
    """One kind of work."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def memory_mib(self) -> int:
        """How much its guest needs."""
        ...

    @property
    def port(self) -> int | None:
        """Where its server listens, if it has one that is connected to."""
        ...

    def kit(self, build: Path) -> Kit:
        """What its guest needs, built or fetched below the folder."""
        ...

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:
        """Have the guest work: for so long, or as much as the workload says."""
        ...


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _wait_until_serves(guest: Guest, port: int) -> None:
    """Return once somebody listens there; the error has what the console said."""
    try:
        wait_until(
            lambda: _listens(guest.spec.guest_address, port),
            SERVES_SECONDS,
            f"{guest.name} served port {port}",
        )
    except DeadlineError as e:
        raise ProgramError(f"{e.message} {last_words(guest)}") from e


@contextmanager
def workload_guest(
    workload: Workload, spec: GuestSpec, image: GuestImage, build: Path, folder: Path
) -> Iterator[Guest]:
    """Run a guest that can do the work while the block does, which begins when it can.

    What it boots from is made in the folder.
    """
    kit = workload.kit(build)
    its = with_programs(image, kit.programs, QUIET + kit.start, folder)
    with linux_guest(spec, its) as guest:
        if workload.port is not None:
            _wait_until_serves(guest, workload.port)
        yield guest
