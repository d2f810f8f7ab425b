# SPDX-License-Identifier: Apache-2.0
"""The same service as a Linux VM: what a host has without service VMs of its own kind.

Its best case: the death of its VMM is known at once, by a pidfd; what it boots from is
made beforehand; nothing but a bridge is set up in it.  Nothing is parked meanwhile.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from observer.experiment.comparator import (
    ends_on_sigterm,
    say_outcome,
    say_ready,
    say_verdict,
)
from observer.experiment.linux_peer import LINUX_BRIDGE, initrd_of, started
from observer.guests.folder import runtime_folder
from observer.guests.tap import tap
from observer.guests.traffic import ip
from observer.model import StepKind, VerdictKind
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.images import images_file, read_images
from observer.services.record import Record
from observer.testbed.kernel import fetch
from observer.testbed.nested import checkout, silent

if TYPE_CHECKING:
    from pathlib import Path

    from observer.services.images import ServiceSpec

__all__: list[str] = []

SERVICE = "net"
TAPS = ("lx-nic", "lx-back")


def _lives(
    folder: ServiceFolder, initrd: Path, spec: ServiceSpec, taps: tuple[str, ...]
) -> None:
    """One life after another, for ever."""
    kernel = fetch("debian-12", checkout() / "build/testbed", silent)
    died_ns = None
    while True:
        with started(kernel, folder.path, initrd, taps) as process:
            record = Record(SERVICE, process.pid, os.getpid(), os.getuid(), spec)
            folder.record.write_bytes(msgspec.json.encode(record))
            if died_ns is None:
                say_ready()
            else:
                step, why = StepKind.RESTART_SERVICE, "started again"
                say_outcome(
                    SERVICE, VerdictKind.VMM_CRASHED, step, began_ns=died_ns, why=why
                )
            death = os.pidfd_open(process.pid)
            select.select([death], [], [])
            os.close(death)
            said = "its pidfd is readable: its VMM is gone"
            kind = VerdictKind.VMM_CRASHED
            verdict = say_verdict(SERVICE, kind, time.monotonic_ns(), said, "restart")
            died_ns = verdict.monotonic_ns


def main() -> None:
    """Keep the service until SIGTERM, in the bridges of the one that it stands for."""
    ends_on_sigterm()
    spec = read_images(images_file())[SERVICE]
    folder = ServiceFolder(RUNTIME / SERVICE)
    kernel = fetch("debian-12", checkout() / "build/testbed", silent)
    with ExitStack() as stack:
        RUNTIME.mkdir(parents=True, exist_ok=True)
        stack.enter_context(runtime_folder(folder.path))
        initrd = folder.path / "initrd"
        initrd.write_bytes(initrd_of(LINUX_BRIDGE, kernel))
        for k, (name, port) in enumerate(zip(TAPS, spec.ports, strict=True)):
            stack.enter_context(tap(name, f"10.123.9{k}.1"))
            ip("addr", "flush", "dev", name)
            ip("link", "set", name, "master", str(port.bridge))
        _lives(folder, initrd, spec, TAPS)


if __name__ == "__main__":
    main()
