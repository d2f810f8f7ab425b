# SPDX-License-Identifier: Apache-2.0
"""Which service VMs a host may run, from `images.toml`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import ConfigError, UsageError
from observer.services.folder import is_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Port",
    "ServiceSpec",
    "images_file",
    "placed_images",
    "read_images",
    "spare_of",
]

ETC = Path("/etc/observer/images.toml")
SPARE = "-spare"
NAME_BYTES = 15  # IFNAMSIZ of the kernel's linux/if.h, less the final zero
SMALLEST_MIB, LARGEST_MIB = 8, 1024


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One virtio-net device: its tap on the host, and the bridge that it joins.

    A spare's joins none until it is switched in.
    """

    tap: str
    bridge: str | None = None
    mtu: int = 1500


class ServiceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a service VM is made of."""

    image: str
    ports: tuple[Port, ...]
    memory_mib: int = 16
    words: str = ""
    disk: str | None = None
    spare: bool = False


def images_file() -> Path:
    """The operator's file, else the one that came with the images."""
    package = Path(str(files("observer")))
    places = (ETC, package / "services", package.parent / "unikernels")
    named = (p if p.suffix == ".toml" else p / "images.toml" for p in places)
    return next(path for path in named if path.is_file())


def placed_images() -> Path:
    """Where the images lie: in the package, else as they were built."""
    package = Path(str(files("observer")))
    placed, built = package / "services", package.parent / "build/unikernels"
    return placed if (placed / "net.elf").exists() else built


def _is_device(name: str) -> bool:
    return is_name(name) and len(name) <= NAME_BYTES


def _wrong(name: str, spec: ServiceSpec) -> Iterator[str]:
    """What is wrong with it, each as a key and a reason."""
    if not is_name(name):
        yield f"{name}: a name has letters, digits, dots and dashes, 31 at most"
    if not SMALLEST_MIB <= spec.memory_mib <= LARGEST_MIB:
        yield f"{name}.memory_mib: {SMALLEST_MIB} to {LARGEST_MIB} MiB"
    if not spec.ports:
        yield f"{name}.ports: at least one"
    for port in spec.ports:
        if port.bridge is None:
            yield f"{name}.ports: {port.tap} has no bridge"
        for device in (port.tap, port.bridge):
            if device is not None and not _is_device(device):
                yield f"{name}.ports: {device!r} is no name of a network device"
    if spec.spare and spec.disk:
        yield f"{name}.spare: a disk has one writer, so it has no spare that runs"


def spare_of(name: str) -> str:
    """What the spare of a service is called."""
    return f"{name}{SPARE}"


def _standby(spec: ServiceSpec) -> ServiceSpec:
    """The same, on taps of its own that are in no bridge."""
    length = NAME_BYTES - len(SPARE)
    ports = tuple(
        msgspec.structs.replace(port, tap=f"{port.tap[:length]}{SPARE}", bridge=None)
        for port in spec.ports
    )
    return msgspec.structs.replace(spec, ports=ports, spare=False)


def read_images(path: Path) -> dict[str, ServiceSpec]:
    """Name -> service, spares too.  Raises ConfigError with file, key and reason."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=dict[str, ServiceSpec])
    except OSError as e:
        raise UsageError(f"{path} cannot be read ({e.strerror}).") from e
    except msgspec.DecodeError as e:
        raise ConfigError(f"{path}: {e}.") from e
    wrong = next((w for item in found.items() for w in _wrong(*item)), None)
    if wrong:
        raise ConfigError(f"{path}: {wrong}.")
    for name in [name for name, spec in found.items() if spec.spare]:
        found[spare_of(name)] = _standby(found[name])
    taps = [port.tap for spec in found.values() for port in spec.ports]
    twice = next((tap for tap in taps if taps.count(tap) > 1), None)
    if twice:
        raise ConfigError(f"{path}: the tap {twice} is named twice.")
    return found
