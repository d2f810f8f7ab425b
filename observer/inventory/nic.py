# SPDX-License-Identifier: Apache-2.0
"""Which of QEMU's network cards a doorbell belongs to, by its `query-pci`.

A guest kicks a ring by writing into a BAR of its device, and no two overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Nic", "nics"]

ETHERNET = 0x0200  # PCI class code


class _Class(msgspec.Struct, frozen=True):
    number: int = msgspec.field(name="class")


class _Region(msgspec.Struct, frozen=True):
    address: int
    size: int


class _Bridge(msgspec.Struct, frozen=True):
    devices: tuple[_Device, ...] = ()


class _Device(msgspec.Struct, frozen=True):
    qdev_id: str
    class_info: _Class
    regions: tuple[_Region, ...]
    pci_bridge: _Bridge | None = None


class _Bus(msgspec.Struct, frozen=True):
    devices: tuple[_Device, ...]


class Nic(msgspec.Struct, frozen=True):
    """A network card: its id, empty where it was given none, and where it lies."""

    name: str
    regions: tuple[tuple[int, int], ...]

    def has(self, doorbell: int) -> bool:
        """Say whether the guest kicks it there."""
        return any(start <= doorbell < start + size for start, size in self.regions)


def _flat(devices: Iterable[_Device]) -> Iterator[_Device]:
    for device in devices:
        yield device
        if device.pci_bridge is not None:
            yield from _flat(device.pci_bridge.devices)


def nics(query_pci: object) -> list[Nic]:
    """All of them, from QEMU's answer."""
    buses = msgspec.convert(query_pci, tuple[_Bus, ...])
    return [
        Nic(device.qdev_id, tuple((r.address, r.size) for r in device.regions))
        for bus in buses
        for device in _flat(bus.devices)
        if device.class_info.number == ETHERNET
    ]
