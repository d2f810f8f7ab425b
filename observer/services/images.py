# SPDX-License-Identifier: Apache-2.0
"""Which service VMs a host may run, from `images.toml`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from observer.errors import ConfigError, UsageError
from observer.services.aoe import target_of
from observer.services.folder import is_name
from observer.services.identity import users_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Port",
    "ServiceSpec",
    "images_file",
    "placed_images",
    "read_images",
]

T = TypeVar("T")
ETC = Path("/etc/observer/images.toml")
NAME_BYTES = 15  # IFNAMSIZ of the kernel's linux/if.h, less the final zero
SMALLEST_MIB, LARGEST_MIB = 8, 1024
SMALLEST_MTU, LARGEST_MTU = 576, 9000


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One virtio-net device: its tap on the host, and the bridge that it joins."""

    tap: str
    bridge: str
    mtu: int = 1500


class ServiceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a service VM is made of."""

    image: str
    ports: tuple[Port, ...]
    memory_mib: int = 16
    words: str = ""
    disk: str | None = None
    spare: bool = False


def images_file(etc: Path = ETC) -> Path:
    """The operator's file, else the one that came with the images."""
    package = Path(str(files("observer")))
    places = (etc, package / "services", package.parent / "unikernels")
    named = (p if p.suffix == ".toml" else p / "images.toml" for p in places)
    return next(path for path in named if path.is_file())


def placed_images() -> Path:
    """Where the images lie: in the package, else as they were built."""
    package = Path(str(files("observer")))
    placed, built = package / "services", package.parent / "build/unikernels"
    return placed if (placed / "net.elf").exists() else built


def _is_device(name: str) -> bool:
    return is_name(name) and len(name) <= NAME_BYTES


def _wrong_port(port: Port) -> Iterator[str]:
    for device in (port.tap, port.bridge):
        if not _is_device(device):
            yield f"{device!r} is no name of a network device"
    if not SMALLEST_MTU <= port.mtu <= LARGEST_MTU:
        yield f"an mtu is {SMALLEST_MTU} to {LARGEST_MTU}"


def _wrong(name: str, spec: ServiceSpec) -> Iterator[str]:
    """What is wrong with it, each as a key and a reason."""
    if not is_name(name):
        yield f"{name}: a name has letters, digits, dots and dashes, 31 at most"
    if not SMALLEST_MIB <= spec.memory_mib <= LARGEST_MIB:
        yield f"{name}.memory_mib: {SMALLEST_MIB} to {LARGEST_MIB} MiB"
    if not spec.ports:
        yield f"{name}.ports: at least one"
    for port in spec.ports:
        yield from (f"{name}.ports: {wrong}" for wrong in _wrong_port(port))
    if spec.spare and spec.memory_mib & (spec.memory_mib - 1):
        yield f"{name}.memory_mib: a power of two, so that its spare can read it"
    try:
        target_of(spec.words)
    except ValueError:
        yield f"{name}.words: aoe.shelf and aoe.slot are numbers"


def _twice(things: Iterable[T]) -> Iterator[T]:
    seen: set[T] = set()
    for thing in things:
        if thing in seen:
            yield thing
        seen.add(thing)


def _clashes(services: dict[str, ServiceSpec]) -> Iterator[str]:
    """What two of them cannot both have."""
    for tap in _twice(port.tap for spec in services.values() for port in spec.ports):
        yield f"the tap {tap} is named twice"
    disks = (spec for spec in services.values() if spec.disk)
    for shelf, slot in _twice(target_of(spec.words) for spec in disks):
        yield f"two disks are e{shelf}.{slot}: give one another aoe.shelf or aoe.slot"
    for user in _twice(u for name in services for u in users_of(name)):
        same = " and ".join(name for name in services if user in users_of(name))
        yield f"{same} would be the same user: give one another name"


def read_images(path: Path) -> dict[str, ServiceSpec]:
    """Name -> service.  Raises ConfigError with file, key and reason."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=dict[str, ServiceSpec])
    except OSError as e:
        raise UsageError(f"{path} cannot be read ({e.strerror}).") from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: {e}.") from e
    wrong = next((w for item in found.items() for w in _wrong(*item)), None)
    if wrong:
        raise ConfigError(f"{path}: {wrong}.")
    if clash := next(_clashes(found), None):
        raise ConfigError(f"{path}: {clash}.")
    return found
