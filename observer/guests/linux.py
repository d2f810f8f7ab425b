# SPDX-License-Identifier: Apache-2.0
"""Starts a Linux guest with its network and its disk's back end, and takes all away."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.guests.children import child
from observer.guests.folder import runtime_folder
from observer.guests.guest import RUNTIME, Guest, write_record
from observer.guests.launch import Files, disk_command, qemu_command
from observer.guests.tap import tap
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from observer.guests.images import GuestImage
    from observer.guests.launch import GuestSpec

__all__ = ["linux_guest", "starting_guest", "wait_for_guest"]

BOOT_SECONDS = 120.0
START_SECONDS = 30.0
_UP = "guest up"


def _exists(path: Path, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise ProgramError(
            f"{log.stem} ended with status {process.returncode}: "
            f"{log.read_text(errors='replace').strip()[-300:]}"
        )
    return path.exists()


def _start(stack: ExitStack, argv: list[str], folder: Path, ready: Path) -> None:
    """Start a program and wait for the file that says that it serves."""
    log = folder / f"{argv[0]}.log"
    process = stack.enter_context(child(argv, log))
    wait_until(lambda: _exists(ready, process, log), START_SECONDS, f"{argv[0]} served")


@contextmanager
def starting_guest(
    spec: GuestSpec, image: GuestImage, runtime: Path = RUNTIME
) -> Iterator[Guest]:
    """Run a guest while the block does, which begins while the guest still boots."""
    files = Files(runtime / spec.name)
    with ExitStack() as stack:
        stack.enter_context(runtime_folder(files.folder))
        stack.enter_context(tap(spec.tap, spec.host_address))
        with files.disk.open("wb") as disk:
            disk.truncate(spec.disk_mib << 20)
        _start(stack, disk_command(spec, files), files.folder, files.disk_pid)
        _start(stack, qemu_command(spec, files, image), files.folder, files.console)
        guest = Guest(spec, files, image)
        write_record(guest)
        yield guest


def wait_for_guest(guest: Guest, timeout: float = BOOT_SECONDS) -> None:
    """Return once the guest obeys orders."""
    wait_until(lambda: _UP in guest.console(), timeout, f"{guest.name} was up")


@contextmanager
def linux_guest(
    spec: GuestSpec, image: GuestImage, runtime: Path = RUNTIME
) -> Iterator[Guest]:
    """Run a guest while the block does; it is up and obeys when the block begins."""
    with starting_guest(spec, image, runtime) as guest:
        wait_for_guest(guest)
        yield guest
