# SPDX-License-Identifier: Apache-2.0
"""The faults of the experiments, how each is brought about, and what it must be called.

The moment of a fault is the last at which the victim was surely well: the one before it
obeyed an order, by the kernel's trace, or before its signal is raised.  All designs are
timed from there.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.clock import SECOND
from observer.errors import ProgramError
from observer.model import VerdictKind
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.record import read_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observer.experiment.moment import FaultTrace

__all__ = [
    "CLEAR",
    "FAULTS",
    "Fault",
    "break_services",
    "clear",
    "service_pid",
]

OBEYED_SECONDS = 10.0
CLEAR = signal.SIGUSR1
"""What a keeper of `nobody.py` is told to begin anew by."""

PART, SERVICE = VerdictKind.PART_HUNG, VerdictKind.SERVICE_HUNG
CRASHED, FELL = VerdictKind.VMM_CRASHED, VerdictKind.SERVICE_CRASHED


@dataclass(frozen=True)
class Fault:
    """What is done to which services, and what is to be said of each."""

    name: str
    services: tuple[str, ...]
    kind: VerdictKind
    word: str | None = None
    """What the service is told; None: its VMM is killed."""


FAULTS: dict[str, dict[str, Fault]] = {
    experiment: {fault.name: fault for fault in faults}
    for experiment, faults in {
        "net-failure": (
            Fault("nic-hang", ("net",), PART, "nic-hang"),
            Fault("netback-hang", ("net",), PART, "netback-hang"),
            Fault("service-hang", ("net",), SERVICE, "service-hang"),
            Fault("service-crash", ("net",), FELL, "service-crash"),
            Fault("vmm-crash", ("net",), CRASHED),
        ),
        "disk-failure": (
            Fault("disk-hang", ("disk",), PART, "disk-hang"),
            Fault("target-hang", ("disk",), PART, "target-hang"),
            Fault("service-hang", ("disk",), SERVICE, "service-hang"),
            Fault("service-crash", ("disk",), FELL, "service-crash"),
            Fault("vmm-crash", ("disk",), CRASHED),
        ),
        "all-failure": (
            Fault("net-vmm-crash", ("net",), CRASHED),
            Fault("disk-vmm-crash", ("disk",), CRASHED),
            Fault("all-services-crash", ("net", "disk"), CRASHED),
        ),
    }.items()
}


def service_pid(name: str, runtime: Path = RUNTIME) -> int:
    """The process of a service's present life, as its keeper left word."""
    record = read_record(ServiceFolder(runtime / name))
    if record is None or record.pid is None:
        raise ProgramError(f"{name} is not up: see `observer service status`.")
    return record.pid


@contextmanager
def _held(service: str, runtime: Path) -> Iterator[int]:
    """A pidfd of its VMM, which lives: of several, all are killed or none."""
    try:
        process = os.pidfd_open(service_pid(service, runtime))
    except ProcessLookupError:
        raise ProgramError(f"{service} is being started again: try later.") from None
    try:
        if select.select([process], [], [], 0)[0]:
            raise ProgramError(f"{service} has crashed: start it again.")
        yield process
    finally:
        os.close(process)


def clear(fault: Fault, runtime: Path = RUNTIME) -> None:
    """Tell those who keep the services, and do no more, to begin them anew."""
    records = (read_record(ServiceFolder(runtime / name)) for name in fault.services)
    for keeper in {record.keeper for record in records if record is not None}:
        process = os.pidfd_open(keeper)
        try:
            signal.pidfd_send_signal(process, CLEAR)
        finally:
            os.close(process)


def _refuses(wire: socket.socket) -> bool:
    """Whether it said so; one that hangs or fell says nothing, or is gone."""
    try:
        return b"refused" in wire.recv(200)
    except ConnectionError:
        return False


def _tell(folder: ServiceFolder, word: str, trace: FaultTrace) -> int:
    """Order a fault; the moment at which it was obeyed."""
    service = folder.path.name
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(OBEYED_SECONDS)
        wire.connect(str(folder.vm.control))
        ordered_ns = time.monotonic_ns()
        deadline_ns = ordered_ns + int(OBEYED_SECONDS * SECOND)
        wire.sendall(f"fault {word}\n".encode())
        heard: list[socket.socket | FaultTrace] = [wire, trace]
        while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
            ready, _, _ = select.select(heard, [], [], left_ns / SECOND)
            if wire in ready:
                if _refuses(wire):
                    raise ProgramError(
                        f"{service} may not be broken: give it the word faults=on."
                    )
                heard.remove(wire)
            if moment_ns := trace.take(service, ordered_ns):
                return moment_ns
    raise ProgramError(
        f"{service} did not obey {word} in {OBEYED_SECONDS:g} s: see whether it serves "
        "(observer service status), and build its image again (make unikernels)."
    )


def break_services(fault: Fault, trace: FaultTrace, runtime: Path = RUNTIME) -> int:
    """Bring it about, in all its services at once; its moment, in ns."""
    if fault.word is not None:
        folders = [ServiceFolder(runtime / name) for name in fault.services]
        return min(_tell(folder, fault.word, trace) for folder in folders)
    with ExitStack() as stack:
        held = [stack.enter_context(_held(name, runtime)) for name in fault.services]
        moment_ns = time.monotonic_ns()
        for process in held:
            signal.pidfd_send_signal(process, signal.SIGKILL)
    return moment_ns
