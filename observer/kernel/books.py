# SPDX-License-Identifier: Apache-2.0
"""The books that BPF keeps, as the daemon uses them: cells, suspicions, processes.

`Books` is what a loader must give; `PinnedBooks` are those in bpffs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from observer.errors import ProgramError
from observer.kernel.cells import (
    LIMITS,
    PROCESS,
    RING,
    SERVICE,
    SUSPICION,
    VCPU,
    VM,
    Cells,
    Drop,
    Pool,
    ProcessKind,
    map_cells,
)
from observer.kernel.libbpf import RingBuffer
from observer.model import Suspicion, SuspicionKind

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from observer.kernel.libbpf import Libbpf

__all__ = ["Books", "PinnedBooks", "decode"]

U32, U64 = np.dtype("u4"), np.dtype("u8")


class Books(Protocol):
    """What the daemon sees of the kernel, whichever way the programs were loaded."""

    vms: Cells
    vcpus: Cells
    rings: Cells
    services: Cells
    used: Cells
    """By Pool: those behind the first so many slots were never taken."""
    left_out: dict[str, str]

    def fileno(self) -> int:
        """Readable when a suspicion wants to be heard."""
        ...

    def take(self) -> list[Suspicion]:
        """Take all suspicions and notes raised since the last call."""
        ...

    def look_at_ring(self, slot: int) -> bool:
        """Bring a vhost ring's own indices up to date; False if it is gone."""
        ...

    def enter_vhost_file(self, vcpu_slot: int, fd: int) -> None:
        """Enter the rings of a vhost device that the VMM of this vCPU holds open."""
        ...

    def watch_process(self, pid: int, vm_slot: int) -> None:
        """Let a back end's exit be a suspicion."""
        ...

    def last_call_ns(self, pid: int) -> int:
        """When a watched process last called a guest; 0: never."""
        ...

    def forget(self, vm_slot: int) -> None:
        """Free the slots of a VM that is gone, its rings and its vCPUs."""
        ...

    def dropped(self) -> dict[str, int]:
        """What was lost in the kernel, by reason."""
        ...

    def close(self, *, detach: bool) -> None:
        """Let go; with `detach` the programs leave the kernel too."""
        ...


def decode(sample: bytes) -> Suspicion:
    """Make a suspicion of what the ring buffer carried."""
    now, since, value, kind, tgid, vm, slot = np.frombuffer(sample, SUSPICION)[0].item()
    return Suspicion(SuspicionKind(kind), now, since, value, tgid, vm, slot)


class PinnedBooks:
    """Maps in a bpffs folder, opened by name."""

    def __init__(self, libbpf: Libbpf, maps: Path, programs: Path) -> None:
        self._libbpf, self._maps, self._programs = libbpf, maps, programs
        self._fds: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        self.vms = map_cells(self._fd("vms"), VM, LIMITS["vms"])
        self.vcpus = self._cells_or_none("vcpus", VCPU)
        self.rings = self._cells_or_none("rings", RING)
        self.services = self._cells_or_none("services", SERVICE)
        self.used = map_cells(self._fd("next_slots"), U64, len(Pool))
        self._drops = map_cells(self._fd("drops"), U64, len(Drop))
        self._taken: list[Suspicion] = []
        self._ring = RingBuffer(
            libbpf, self._fd("suspicions"), lambda b: self._taken.append(decode(b))
        )

    def _fd(self, name: str) -> int:
        if name not in self._fds:
            fd = self._libbpf.get_pinned(self._maps / name)
            if fd is None:
                raise ProgramError(
                    f"The map {name} is not pinned in {self._maps}: "
                    "stop the observer, remove that folder and start it again."
                )
            self._fds[name] = fd
        return self._fds[name]

    def _cells_or_none(self, name: str, cell: np.dtype[np.void]) -> Cells:
        if not (self._maps / name).exists():
            return np.zeros(LIMITS[name], cell)  # its programs are left out for now
        return map_cells(self._fd(name), cell, LIMITS[name])

    def _push(self, queue: str, slot: int) -> None:
        self._libbpf.bpf_map_update_elem(self._fd(queue), None, _u32(slot), 0)

    def reopen(self, objects: list[str]) -> None:
        """Map the cells of objects that were loaded just now."""
        if "vcpu" in objects:
            self.vcpus = self._cells_or_none("vcpus", VCPU)
        if "service" in objects:
            self.services = self._cells_or_none("services", SERVICE)
        if "vring" in objects:
            self.rings = self._cells_or_none("rings", RING)

    def fileno(self) -> int:
        """Readable when a suspicion wants to be heard."""
        return self._ring.fileno()

    def take(self) -> list[Suspicion]:
        """Take all suspicions and notes raised since the last call."""
        self._ring.consume()
        taken, self._taken[:] = list(self._taken), []
        return taken

    def look_at_ring(self, slot: int) -> bool:
        """Bring a vhost ring's own indices up to date; False if it is gone."""
        answer = self._run("look_at_ring", _u32(slot) + _u32(0))
        return answer is not None and bool(np.frombuffer(answer, U32)[1])

    def enter_vhost_file(self, vcpu_slot: int, fd: int) -> None:
        """Enter the rings of a vhost device that the VMM of this vCPU holds open."""
        argument = np.array([vcpu_slot, fd], "u8").tobytes()
        self._run("enter_vhost_file", argument)

    def _run(self, program: str, argument: bytes) -> bytes | None:
        """Run a program for its answer; None while its object is left out."""
        if program not in self._fds:
            fd = self._libbpf.get_pinned(self._programs / program)
            if fd is None:
                return None
            self._fds[program] = fd
        return self._libbpf.run(self._fds[program], argument)

    def watch_process(self, pid: int, vm_slot: int) -> None:
        """Let a back end's exit be a suspicion."""
        entry = np.zeros(1, PROCESS)
        entry["kind"], entry["vm"] = ProcessKind.BACKEND, vm_slot
        bpf_noexist = 1  # one that serves several VMs stays with the first
        self._libbpf.bpf_map_update_elem(
            self._fd("processes"), _u32(pid), entry.tobytes(), bpf_noexist
        )

    def last_call_ns(self, pid: int) -> int:
        """When a watched process last called a guest; 0: never."""
        value = self._lookup("processes", _u32(pid), PROCESS.itemsize)
        return int(np.frombuffer(value, PROCESS)[0]["call_ns"]) if value else 0

    def forget(self, vm_slot: int) -> None:
        """Free the slots of a VM that is gone, its rings and its vCPUs."""
        self._forget_processes(vm_slot)
        for slot in _slots_of(self.rings, vm_slot, "kind"):
            key = int(self.rings[slot]["kick_ctx"]).to_bytes(8, "little")
            if self._lookup("ring_by_kick", key, 4) == _u32(slot):
                self._delete("ring_by_kick", key)
            self.rings[slot] = np.zeros((), RING)
            self._push("free_rings", slot)
        for slot in _slots_of(self.vcpus, vm_slot, "tid"):
            self._delete("vcpu_by_tid", _u32(int(self.vcpus[slot]["tid"])))
            self.vcpus[slot] = np.zeros((), VCPU)
            self._push("free_vcpus", slot)
        kvms, slots = self._entries("vm_by_kvm", U64, U32, LIMITS["vms"])
        for kvm in kvms[slots == vm_slot]:
            self._delete("vm_by_kvm", kvm.tobytes())
        self.services[vm_slot] = np.zeros((), SERVICE)
        self.vms[vm_slot] = np.zeros((), VM)
        self._push("free_vms", vm_slot)

    def _forget_processes(self, vm_slot: int) -> None:
        pids, found = self._entries("processes", U32, PROCESS, LIMITS["processes"])
        for pid in pids[found["vm"] == vm_slot]:
            self._delete("processes", pid.tobytes())

    def _entries(
        self, name: str, key: np.dtype[Any], value: np.dtype[Any], limit: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self._libbpf.entries(self._fd(name), key, value, limit)

    def _lookup(self, name: str, key: bytes, size: int) -> bytes | None:
        value = bytearray(size)
        view = np.frombuffer(value, "u1")
        failed = self._libbpf.bpf_map_lookup_elem(self._fd(name), key, view.ctypes.data)
        return None if failed else bytes(value)

    def _delete(self, name: str, key: bytes) -> None:
        self._libbpf.bpf_map_delete_elem(self._fd(name), key)

    def dropped(self) -> dict[str, int]:
        """What was lost in the kernel, by reason."""
        return {why.name.lower(): int(self._drops[why]) for why in Drop}

    def close(self, *, detach: bool) -> None:
        """Let go; with `detach` the programs leave the kernel too."""
        self._ring.close()
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        if detach:
            from observer.kernel.pins import unpin_all

            unpin_all(self._maps.parent)


def _slots_of(cells: Cells, vm_slot: int, in_use: str) -> list[int]:
    """Slots of a VM's cells; a slot is free where its word `in_use` is 0."""
    mine = (cells["vm"] == vm_slot) & (cells[in_use] != 0)
    return [int(slot) for slot in np.flatnonzero(mine)]


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")
