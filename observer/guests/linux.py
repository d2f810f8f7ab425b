# SPDX-License-Identifier: Apache-2.0
"""Starts a Linux guest with its network and its disk's back end, and takes all away."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.guests import qmp
from observer.guests.children import child
from observer.guests.folder import runtime_folder
from observer.guests.guest import RUNTIME, Guest, gone, write_record
from observer.guests.launch import Files, disk_command, qemu_command
from observer.guests.tap import tap
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from observer.guests.images import GuestImage
    from observer.guests.launch import GuestSpec

__all__ = ["last_words", "linux_guest", "starting_guest", "wait_for_guest"]

BOOT_SECONDS = 120.0
START_SECONDS = 30.0
LAST_CHARACTERS = 600
_UP = "guest up"


def _check(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        raise ProgramError(
            f"{log.stem} ended with status {process.returncode}: "
            f"{log.read_text(errors='replace').strip()[-300:]}"
        )


@contextmanager
def _program(
    argv: list[str], ready: Callable[[], bool], folder: Path
) -> Iterator[None]:
    """Run a program while the block does, which begins when it serves."""
    log = folder / f"{argv[0]}.log"
    with child(argv, log) as process:

        def serves() -> bool:
            _check(process, log)
            return ready()

        wait_until(serves, START_SECONDS, f"{argv[0]} served")
        yield


def _answers(monitor: Path) -> bool:
    """Whether QEMU has made all its devices: only then does it answer."""
    if not monitor.exists():
        return False
    try:
        qmp.execute(monitor, ("query-status", {}))
    except ProgramError:
        return False
    return True


@contextmanager
def starting_guest(
    spec: GuestSpec, image: GuestImage, runtime: Path = RUNTIME
) -> Iterator[Guest]:
    """Run a guest while the block does, which begins while the guest still boots."""
    files = Files(runtime / spec.name)
    with ExitStack() as stack:
        stack.enter_context(runtime_folder(files.folder))
        stack.enter_context(tap(spec.tap, spec.host_address))
        if spec.disk is None:
            with files.disk.open("wb") as disk:
                disk.truncate(spec.disk_mib << 20)
        for argv, ready in (
            (disk_command(spec, files), files.disk_pid.exists),
            (qemu_command(spec, files, image), lambda: _answers(files.second_qmp)),
        ):
            stack.enter_context(_program(argv, ready, files.folder))
        guest = Guest(spec, files, image)
        write_record(guest)
        yield guest


def last_words(guest: Guest) -> str:
    """What a guest and its processes said at last."""
    logs = sorted(guest.files.folder.glob("*.log"))
    ends = (
        f"{log.name} ends with {said[-LAST_CHARACTERS:]!r}"
        for log in logs
        if (said := log.read_text(errors="replace").strip())
    )
    return "; ".join(ends) or "neither it nor its VMM said anything"


def wait_for_guest(guest: Guest, timeout: float = BOOT_SECONDS) -> None:
    """Return once the guest obeys orders."""
    with guest.pidfd(guest.pid) as vmm:

        def up() -> bool:
            if gone(vmm):
                raise ProgramError(
                    f"{guest.name} ended before it was up: {last_words(guest)}"
                )
            return _UP in guest.console()

        wait_until(up, timeout, f"{guest.name} was up")


@contextmanager
def linux_guest(
    spec: GuestSpec, image: GuestImage, runtime: Path = RUNTIME
) -> Iterator[Guest]:
    """Run a guest while the block does; it is up and obeys when the block begins."""
    with starting_guest(spec, image, runtime) as guest:
        wait_for_guest(guest)
        yield guest
