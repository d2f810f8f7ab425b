# SPDX-License-Identifier: Apache-2.0
"""The process that keeps a service VM: its parent, and the holder of what outlives it.

A copy of each tap and of the memory stays here, so that frames queue while the VM is
gone and what it had in hand can be read.  Not of vhost: its worker would go on taking
frames for a VM that is dead.  QEMU dies with its keeper.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import HostError, ObserverError, ProgramError, UsageError
from observer.guests.children import child
from observer.guests.folder import runtime_folder
from observer.guests.waiting import wait_until
from observer.services.abi import Abi
from observer.services.aoe import device_of, is_known
from observer.services.control import order
from observer.services.folder import ServiceFolder, service_folder
from observer.services.images import ServiceSpec, images_file, read_images
from observer.services.launch import Handed, as_user, qemu_argv
from observer.services.links import join, open_port, remove_empty_bridges
from observer.services.record import READY, Record

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Kept", "kept_service", "main", "opened", "with_vhost"]

FIRST_USER = 64_100  # of a range that Debian leaves to the local administrator
UP_SECONDS = 30.0
ORDER_SECONDS = 5.0
SECTOR_BYTES = 512


@dataclass(frozen=True)
class Kept:
    """A service VM that runs, and what of it stays with us."""

    record: Record
    folder: ServiceFolder
    process: subprocess.Popen[bytes]
    memory: int
    taps: tuple[int, ...]


def _open_memory(name: str, spec: ServiceSpec) -> int:
    memory = os.memfd_create(f"service-{name}", os.MFD_CLOEXEC)
    os.ftruncate(memory, spec.memory_mib << 20)
    return memory


def _open_vhost() -> int:
    try:
        return os.open("/dev/vhost-net", os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        raise HostError(
            f"/dev/vhost-net cannot be opened ({e.strerror}): "
            "load the module vhost_net."
        ) from e


def _kvm_group(device: Path = Path("/dev/kvm")) -> int | None:
    """The group that may open KVM; None where everybody may."""
    try:
        seen = device.stat()
    except FileNotFoundError as e:
        raise HostError(
            f"{device} is missing: load kvm_amd or kvm_intel; see `observer doctor`."
        ) from e
    if seen.st_mode & stat.S_IROTH and seen.st_mode & stat.S_IWOTH:
        return None
    if seen.st_gid and seen.st_mode & stat.S_IRGRP and seen.st_mode & stat.S_IWGRP:
        return seen.st_gid
    raise HostError(
        f"No unprivileged user may open {device}: give it to the group kvm with "
        "mode 0660, as udev does."
    )


def _open_disk(path: str) -> int:
    """The disk, which must be there: whole sectors, and writable."""
    try:
        disk = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        raise UsageError(
            f"The disk {path} cannot be opened for writing ({e.strerror}): make it, "
            "as with truncate -s 1G, or name another in images.toml."
        ) from e
    size = os.lseek(disk, 0, os.SEEK_END)
    kind = os.fstat(disk).st_mode
    if size < SECTOR_BYTES or not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
        os.close(disk)
        raise UsageError(
            f"The disk {path} is none, or too small with its {size} bytes: "
            "give it at least one sector of 512."
        )
    return disk


def _image(spec: ServiceSpec, images: Path) -> Path:
    path = images / spec.image
    if not path.is_file():
        raise UsageError(f"The image {path} is missing: build it (make unikernels).")
    return path


def _ask(folder: ServiceFolder, line: str) -> list[str]:
    return asyncio.run(order(folder.control, line, ORDER_SECONDS))


def _check_abi(folder: ServiceFolder) -> None:
    """Refuse an image that speaks another version of the contract."""
    said = " ".join(_ask(folder, "version"))
    ours = Abi.of_header()["VERSION"]
    if said != f"version {ours}":
        raise ProgramError(
            f"The image says {said!r}, this observer speaks version {ours} of the "
            "guest ABI: build the images again (make unikernels)."
        )


def _check_alive(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        said = log.read_text(errors="replace").strip()[-300:]
        raise ProgramError(
            f"QEMU ended with status {process.returncode}: {said or 'it said nothing'}."
        )


def _is_up(folder: ServiceFolder) -> bool:
    text = folder.console.read_text() if folder.console.exists() else ""
    return text.rstrip().endswith(" up")


def _leave_bridges(spec: ServiceSpec) -> None:
    """One that this host has found a disk on stays, for the disk's return."""
    if spec.disk is None or not is_known(device_of(spec.words)):
        remove_empty_bridges(spec.ports)


@contextmanager
def opened(name: str, spec: ServiceSpec) -> Iterator[tuple[ServiceSpec, Handed]]:
    """Open what the VM is handed, but vhost; the spec comes with words that say it."""
    with ExitStack() as stack:
        disk = None
        if spec.disk is not None:
            disk = _open_disk(spec.disk)
            stack.callback(os.close, disk)
        memory = _open_memory(name, spec)
        stack.callback(os.close, memory)
        stack.callback(_leave_bridges, spec)
        taps = []
        for port in spec.ports:
            taps.append(open_port(port))
            stack.callback(os.close, taps[-1])
            address = join(port)
            if disk is not None:  # the host on that bridge is who may use it
                words = f"{spec.words} aoe.allow={address}"
                spec = msgspec.structs.replace(spec, words=words)
        yield spec, Handed(memory, tuple(taps), (), disk)


@contextmanager
def with_vhost(handed: Handed) -> Iterator[Handed]:
    """A vhost for each tap, while the block starts QEMU: its own copies keep them."""
    with ExitStack() as stack:
        vhosts = []
        for _ in handed.taps:
            vhosts.append(_open_vhost())
            stack.callback(os.close, vhosts[-1])
        yield replace(handed, vhosts=tuple(vhosts))


@contextmanager
def kept_service(
    name: str, spec: ServiceSpec, user: int, runtime: Path, images: Path
) -> Iterator[Kept]:
    """Run a service VM while the block does, which begins when the service is up."""
    folder = service_folder(runtime, name)
    if folder is None:
        raise UsageError(f"{name!r} is no name for a service.")
    image = _image(spec, images)
    log = folder.path / "qemu.log"
    with ExitStack() as stack:
        stack.enter_context(runtime_folder(folder.path))
        folder.path.chmod(0o711)
        folder.vm.mkdir(mode=0o700)
        os.chown(folder.vm, user, user)
        spec, ours = stack.enter_context(opened(name, spec))
        with with_vhost(ours) as handed:
            argv = qemu_argv(spec, image, folder, handed, user)
            argv = [*as_user(user, _kvm_group()), *argv]
            process = stack.enter_context(child(argv, log, handed.all()))
        stack.callback(folder.ending.touch)

        def is_up() -> bool:
            _check_alive(process, log)
            return _is_up(folder)

        wait_until(is_up, UP_SECONDS, f"{name} was up")
        _check_abi(folder)
        record = Record(name, process.pid, os.getpid(), user, spec)
        folder.record.write_bytes(msgspec.json.encode(record))
        yield Kept(record, folder, process, ours.memory, ours.taps)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(runtime: str, images: str, name: str) -> int:
    """Keep one service until SIGTERM, even when it dies; say `up`, or why not."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        specs = read_images(images_file())
        if name not in specs:
            known = ", ".join(specs)
            raise UsageError(f"There is no service {name} in {images_file()}: {known}.")
        user = FIRST_USER + list(specs).index(name)
        with kept_service(name, specs[name], user, Path(runtime), Path(images)) as kept:
            print(READY, flush=True)  # noqa: T201 - the one who started us waits for it
            kept.process.wait()
            while True:  # what outlives the VM is kept until somebody ends us
                signal.pause()
    except ObserverError as e:
        print(e.message, flush=True)  # noqa: T201
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
