# SPDX-License-Identifier: Apache-2.0
"""The cells of `bpf/cells.h` as numpy sees them; a test holds both together by BTF."""

from __future__ import annotations

import mmap
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "LIMITS",
    "NO_SLOT",
    "PART",
    "PROCESS",
    "RING",
    "SERVICE",
    "SUSPICION",
    "VCPU",
    "VM",
    "Cells",
    "Drop",
    "Pool",
    "ProcessKind",
    "RingFlag",
    "RingHush",
    "RingKind",
    "map_cells",
]

Cells = npt.NDArray[np.void]

NO_SLOT = 0xFFFFFFFF
LIMITS = {
    "vms": 2048,
    "vcpus": 8192,
    "rings": 8192,
    "services": 2048,
    "processes": 4096,
}
RINGS_PER_VM = 16
MAX_PARTS = 2

VM = np.dtype(
    [
        ("tgid", "u4"),
        ("fast", "u4"),
        ("seen_ns", "u8"),
        ("sign_ns", "u8"),
        ("call_ns", "u8"),
        ("kick_ns", "u8"),
        ("asked_ns", "u8"),
        ("kicks", "u8"),
        ("calls", "u8"),
        ("suspected_ns", "u8"),
        ("exited", "u4"),
        ("exit_code", "u4"),
        ("rings", "u2", (RINGS_PER_VM,)),
        ("nr_rings", "u4"),
        ("flags", "u2"),
        ("hushed", "u2"),
        ("looked_ns", "u8"),
        ("read_ns", "u8"),
        ("doubted_ns", "u8"),
        ("unread", "u4"),
        ("down", "u4"),
    ]
)

VCPU = np.dtype(
    [
        ("tid", "u4"),
        ("vm", "u4"),
        ("task", "u8"),
        ("own_ns", "u8"),
        ("own_runtime_ns", "u8"),
        ("own_pcount", "u8"),
        ("own_exits", "u8"),
        ("host_exits", "u8"),
        ("own_host_exits", "u8"),
        ("halts", "u8"),
        ("halt_ns", "u8"),
        ("wake_ns", "u8"),
        ("ended_ns", "u8"),
        ("rip", "u8"),
        ("rflags", "u4"),
        ("reason", "u4"),
        ("isa", "u4"),
        ("armed", "u4"),
        ("suspected_exits", "u8"),
        ("suspected_ns", "u8"),
        ("suspicions", "u4"),
        ("id", "u4"),
    ]
)

RING = np.dtype(
    [
        ("vm", "u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("armed", "u1"),
        ("hushed", "u1"),
        ("kick_ctx", "u8"),
        ("vq", "u8"),
        ("since_ns", "u8"),
        ("run_delay_ns", "u8"),
        ("kicks", "u8"),
        ("avail_addr", "u8"),
        ("used_addr", "u8"),
        ("num", "u2"),
        ("owed_from", "u2"),
        ("last_avail", "u2"),
        ("last_used", "u2"),
        ("avail", "u2"),
        ("used", "u2"),
        ("used_event", "u2"),
        ("index", "u2"),
        ("eventfd_id", "u4"),
        ("worker_tid", "u4"),
        ("identity", "u8"),
        ("doorbell", "u8"),
        ("suspected_ns", "u8"),
        ("suspicions", "u4"),
        ("call_id", "u4"),
        ("device", "u8"),
        ("unconsumed_ns", "u8"),
        ("read_avail", "u2"),
        ("read_event", "u2"),
        ("down", "u4"),
    ]
)

PART = np.dtype(
    [
        ("done", "u4"),
        ("given", "u4"),
        ("since_ns", "u8"),
        ("suspected_ns", "u8"),
        ("paid_ns", "u8"),
    ]
)

SERVICE = np.dtype(
    [
        ("tid", "u4"),
        ("service", "u1"),
        ("nr_parts", "u1"),
        ("version", "u1"),
        ("armed", "u1"),
        ("task", "u8"),
        ("beat_ns", "u8"),
        ("beats", "u8"),
        ("sequence", "u8"),
        ("run_delay_ns", "u8"),
        ("suspected_ns", "u8"),
        ("parts", PART, (MAX_PARTS,)),
        ("ignored", "u4"),
        ("panicked", "u4"),
    ]
)

SUSPICION = np.dtype(
    [
        ("now_ns", "u8"),
        ("since_ns", "u8"),
        ("value", "u8"),
        ("kind", "u4"),
        ("tgid", "u4"),
        ("vm", "u4"),
        ("slot", "u4"),
    ]
)

PROCESS = np.dtype(
    [
        ("kind", "u4"),
        ("vm", "u4"),
        ("exited", "u4"),
        ("pad", "u4"),
        ("call_ns", "u8"),
    ]
)


class ProcessKind(IntEnum):
    """`enum process_kind`."""

    VMM = 1
    BACKEND = 2


class RingKind(IntEnum):
    """`enum ring_kind`: who serves it."""

    FREE = 0
    VHOST = 1
    USER = 2


class RingFlag(IntFlag):
    """`enum ring_flag`."""

    SERVES_KICK = 1
    EVENT_IDX = 2
    PACKED = 4
    LIVE = 8
    UNKICKED = 16


class RingHush(IntEnum):
    """`enum ring_hush`."""

    NOTHING = 0
    UNCALLED = 1
    ALL = 2


class Pool(IntEnum):
    """`enum slot_pool`: of what slots are taken, those given back first."""

    VMS = 0
    VCPUS = 1
    RINGS = 2


class Drop(IntEnum):
    """`enum drop`: what was lost, and why."""

    EVENT = 0
    VM_SLOT = 1
    VCPU_SLOT = 2
    RING_SLOT = 3
    RING_LIST = 4
    TIMER = 5
    READ = 6
    MAP = 7


def map_cells(fd: int, cell: np.dtype[Any], entries: int) -> npt.NDArray[Any]:
    """Map an mmapable array; the cells change under the reader's eyes.

    Words of at most 8 bytes are never torn.  Shape `(entries,)`, writable.
    """
    size = -(-cell.itemsize * entries // mmap.PAGESIZE) * mmap.PAGESIZE
    return np.frombuffer(mmap.mmap(fd, size), dtype=cell, count=entries)
