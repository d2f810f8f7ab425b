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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import HostError, ObserverError, ProgramError, UsageError
from observer.guests.children import child
from observer.guests.folder import runtime_folder
from observer.guests.waiting import wait_until
from observer.services.abi import Abi
from observer.services.control import order
from observer.services.folder import ServiceFolder, service_folder
from observer.services.identity import user_of
from observer.services.images import ServiceSpec, images_file, read_images
from observer.services.launch import Handed, as_user, qemu_argv
from observer.services.links import join, open_port, remove_empty_bridges
from observer.services.record import READY, Record

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["kept_service", "main", "opened", "with_vhost"]

UP_SECONDS = 30.0
ORDER_SECONDS = 5.0
SECTOR_BYTES = 512
ENDS = (signal.SIGTERM, signal.SIGHUP)


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
    """The disk, which must be there: whole sectors, writable, and nobody's mount."""
    try:
        disk = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_EXCL)
    except OSError as e:
        raise UsageError(
            f"The disk {path} cannot be opened for writing ({e.strerror}): make it, "
            "as with truncate -s 1G, or name another in images.toml."
        ) from e
    size = os.lseek(disk, 0, os.SEEK_END)
    kind = os.fstat(disk).st_mode
    is_disk = stat.S_ISREG(kind) or stat.S_ISBLK(kind)
    if not is_disk or not size or size % SECTOR_BYTES:
        os.close(disk)
        raise UsageError(
            f"The disk {path} is none, or has not the right size with its {size} "
            "bytes: give it whole sectors of 512, at least one."
        )
    return disk


def _open_image(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise UsageError(
            f"The image {path} cannot be opened ({e.strerror}): build it "
            "(make unikernels)."
        ) from e


def _ask(folder: ServiceFolder, line: str) -> list[str]:
    return asyncio.run(order(folder.control, line, ORDER_SECONDS))


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _check_alive(process: subprocess.Popen[bytes], *said: Path) -> None:
    if process.poll() is not None:
        words = " ".join(word for path in said for word in _text(path).split())
        raise ProgramError(
            f"QEMU ended with status {process.returncode}: "
            f"{words[-300:] or 'it said nothing'}."
        )


@contextmanager
def opened(
    name: str, spec: ServiceSpec, image_file: Path
) -> Iterator[tuple[ServiceSpec, Handed]]:
    """Open what the VM is handed, but vhost; the spec comes with words that say it."""
    with ExitStack() as stack:
        image = _open_image(image_file)
        stack.callback(os.close, image)
        disk, driver = None, "file"
        if spec.disk is not None:
            disk = _open_disk(spec.disk)
            stack.callback(os.close, disk)
            if stat.S_ISBLK(os.fstat(disk).st_mode):
                driver = "host_device"
        memory = _open_memory(name, spec)
        stack.callback(os.close, memory)
        stack.callback(remove_empty_bridges, spec.ports)
        taps = []
        for port in spec.ports:
            taps.append(open_port(port))
            stack.callback(os.close, taps[-1])
            address = join(port)
            if disk is not None:  # the host on that bridge is who may use it
                words = f"{spec.words} aoe.allow={address}"
                spec = msgspec.structs.replace(spec, words=words)
        yield spec, Handed(image, memory, tuple(taps), (), disk, driver)


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
    name: str, spec: ServiceSpec, runtime: Path, images: Path
) -> Iterator[None]:
    """Run a service VM while the block does, which begins when the service is up."""
    folder = service_folder(runtime, name)
    if folder is None:
        raise UsageError(f"{name!r} is no name for a service.")
    user, log = user_of(name), folder.path / "qemu.log"
    with ExitStack() as stack:
        runtime.mkdir(parents=True, exist_ok=True)
        stack.enter_context(runtime_folder(folder.path))
        record = Record(name, None, os.getpid(), user, spec)
        folder.record.write_bytes(msgspec.json.encode(record))
        for path in (runtime, folder.path):  # its user must get through
            path.chmod(0o711)
        folder.vm.mkdir(mode=0o700)
        os.chown(folder.vm, user, user)
        spec, ours = stack.enter_context(opened(name, spec, images / spec.image))
        with with_vhost(ours) as handed:
            argv = qemu_argv(spec, folder, handed)
            argv = [*as_user(user, _kvm_group()), *argv]
            process = stack.enter_context(child(argv, log, handed.all()))
        stack.callback(folder.ending.touch)

        def is_up() -> bool:
            _check_alive(process, log, folder.console)
            return _text(folder.console).rstrip().endswith(" up")

        wait_until(is_up, UP_SECONDS, f"{name} was up")
        Abi.of_header().check_version(_ask(folder, "version"))
        record = msgspec.structs.replace(record, pid=process.pid, spec=spec)
        folder.record.write_bytes(msgspec.json.encode(record))
        yield


def _end(number: int, _frame: FrameType | None) -> None:
    for more in ENDS:  # what is being taken away is taken away whole
        signal.signal(more, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _spec_of(name: str, file: Path) -> ServiceSpec:
    specs = read_images(file)
    if name not in specs:
        raise UsageError(f"There is no service {name} in {file}: {', '.join(specs)}.")
    return specs[name]


def main(runtime: str, images: str, name: str) -> int:
    """Keep one service until SIGTERM, even when it dies; say `up`, or why not."""
    for number in ENDS:
        signal.signal(number, _end)
    try:
        spec = _spec_of(name, images_file())
        with kept_service(name, spec, Path(runtime), Path(images)):
            print(READY, flush=True)  # noqa: T201 - the one who started us waits for it
            while True:  # what outlives the VM is kept until somebody ends us
                signal.pause()  # its zombie, too, so that its number is nobody else's
    except ObserverError as e:
        print(e.message, flush=True)  # noqa: T201
        return e.exit_code
    except Exception as e:  # noqa: BLE001 - nobody else hears of it
        print(f"The keeper of {name} failed, a bug in observer: {e!r}", flush=True)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
