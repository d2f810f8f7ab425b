# SPDX-License-Identifier: Apache-2.0
"""Opens what a service VM is handed: image, memory, taps, vhost, disk.

QEMU opens nothing of the host's but KVM; each refusal is one sentence.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import HostError, UsageError
from observer.services.launch import Handed
from observer.services.links import (
    copy_what_is_sent,
    join,
    open_port,
    remove_empty_bridges,
)
from observer.services.tap_queue import lone_queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.services.images import ServiceSpec

__all__ = ["in_use", "kvm_group", "opened", "standing_by", "with_vhost"]

SECTOR_BYTES = 512


def _open_memory(name: str, spec: ServiceSpec) -> int:
    memory = os.memfd_create(f"service-{name}", os.MFD_CLOEXEC)
    os.ftruncate(memory, spec.memory_mib << 20)
    return memory


def _available_mib(meminfo: Path = Path("/proc/meminfo")) -> int:
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return next(int(line[1]) for line in lines if line[0] == "MemAvailable:") >> 10


def _open_vhost() -> int:
    try:
        return os.open("/dev/vhost-net", os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        raise HostError(
            f"/dev/vhost-net cannot be opened ({e.strerror}): "
            "load the module vhost_net."
        ) from e


def kvm_group(device: Path = Path("/dev/kvm")) -> int | None:
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


@contextmanager
def opened(spec: ServiceSpec, image_file: Path) -> Iterator[Handed]:
    """Open what a service's VMs share; its bridges go at the end, if empty."""
    with ExitStack() as stack:
        image = _open_image(image_file)
        stack.callback(os.close, image)
        disk, driver = None, "file"
        if spec.disk is not None:
            disk = _open_disk(spec.disk)
            stack.callback(os.close, disk)
            if stat.S_ISBLK(os.fstat(disk).st_mode):
                driver = "host_device"
        stack.callback(remove_empty_bridges, spec.ports)
        yield Handed(image, disk, driver)


@contextmanager
def in_use(
    name: str, spec: ServiceSpec, shared: Handed
) -> Iterator[tuple[ServiceSpec, Handed]]:
    """Add memory and taps for the VM that serves; the spec's words say all of it."""
    with ExitStack() as stack:
        memory = _open_memory(name, spec)
        stack.callback(os.close, memory)
        taps = []
        for port in spec.ports:
            taps.append(open_port(port, many_queues=spec.spare))
            stack.callback(os.close, taps[-1])
            address = join(port)
            if spec.disk is not None:  # the host on that bridge is who may use it
                copy_what_is_sent(port.bridge)
                words = f"{spec.words} aoe.allow={address}"
                spec = msgspec.structs.replace(spec, words=words)
        yield spec, replace(shared, memory=memory, taps=tuple(taps))


@contextmanager
def standing_by(name: str, spec: ServiceSpec, serving: Handed) -> Iterator[Handed]:
    """Add memory and lone queues for a spare, which may read the serving's memory."""
    if (free := _available_mib()) < spec.memory_mib:
        raise HostError(
            f"There is no memory for the spare of {name}: it needs {spec.memory_mib} "
            f"MiB, {free} are left; free some, or take `spare` out of images.toml."
        )
    with ExitStack() as stack:
        memory = _open_memory(name, spec)
        stack.callback(os.close, memory)
        taps = []
        for _ in spec.ports:
            taps.append(lone_queue())
            stack.callback(os.close, taps[-1])
        yield replace(
            serving, memory=memory, taps=tuple(taps), other_memory=serving.memory
        )


@contextmanager
def with_vhost(handed: Handed) -> Iterator[Handed]:
    """A vhost for each tap, while the block starts QEMU: its own copies keep them."""
    with ExitStack() as stack:
        vhosts = []
        for _ in handed.taps:
            vhosts.append(_open_vhost())
            stack.callback(os.close, vhosts[-1])
        yield replace(handed, vhosts=tuple(vhosts))
