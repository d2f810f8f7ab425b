# SPDX-License-Identifier: Apache-2.0
"""Which debts look late by time alone: one pass over the cells, compiled by numba.

The rules are those of the alarms in `bpf/*.bpf.c`, but for what a guest consumes, which
only those see.  A VM's are complete here; a vCPU and a ring are candidates whose CPU
time or index in kernel memory is read next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    import numpy.typing as npt

    from observer.kernel.cells import Cells

__all__ = ["LATE", "Pools", "ScanLimits", "find_late"]

LATE = np.dtype([("kind", "u4"), ("slot", "u4")])

VCPU, BACKEND = 2, 3  # SuspicionKind; numba takes plain numbers only
CALLED, SILENT, UNANSWERED = 6, 7, 8
MS = 1_000_000

Cell = Any  # one record of numba's: a field is an attribute


class ScanLimits(NamedTuple):
    """The knobs of the BPF programs, in ns; `grid` makes silent VMs late together."""

    vcpu: int
    backend: int
    called: int
    validity: int
    answer: int
    grid: int = 100 * MS


class Pools(NamedTuple):
    """The cells that were ever in use, and when a vCPU or ring is read again."""

    vms: Cells
    vcpus: Cells
    rings: Cells
    due_vcpus: npt.NDArray[np.int64]
    due_rings: npt.NDArray[np.int64]


@njit(nogil=True, cache=True)
def _late_vm(vm: Cell, limits: ScanLimits, now: int, on_grid: bool) -> int:  # noqa: FBT001
    """Kind of a VM's late debt, 0 if there is none: `judge_vm` of vcpu.bpf.c."""
    sign, asked = np.int64(vm.sign_ns), np.int64(vm.asked_ns)
    call, suspected = np.int64(vm.call_ns), np.int64(vm.suspected_ns)
    if vm.tgid == 0 or vm.exited != 0 or vm.hushed != 0:
        return 0
    if asked > sign and asked > suspected and asked <= now:
        return UNANSWERED if now - asked >= limits.answer else 0
    if call > sign and call > suspected:
        return CALLED if now - call >= limits.called else 0
    if not on_grid or now - sign + limits.grid < limits.validity:
        return 0
    # Once it was said, silence is nothing new for a validity.
    is_new = suspected <= sign or now - suspected >= limits.validity
    return SILENT if is_new else 0


@njit(nogil=True, cache=True)
def _may_be_late_vcpu(cell: Cell, limits: ScanLimits, now: int) -> bool:
    """Say whether a vCPU could have run for its limit since its last own exit."""
    if cell.tid == 0 or cell.suspected_exits == cell.own_exits + np.uint64(1):
        return False
    own, woken = np.int64(cell.own_ns), np.int64(cell.wake_ns)
    if np.int64(cell.halt_ns) == own and woken <= own:
        return False  # halted: it owes nothing until it is woken
    return bool(now - max(own, woken) >= limits.vcpu)


@njit(nogil=True, cache=True)
def _may_be_late_ring(cell: Cell, limits: ScanLimits, now: int) -> bool:
    """Say whether a ring's debt was open for the limit, whoever had a CPU."""
    since = np.int64(cell.since_ns)
    return bool(cell.kind != 0 and since != 0 and now - since >= limits.backend)


@njit(nogil=True, cache=True)
def find_late(
    pools: Pools, limits: ScanLimits, last: int, now: int, late: Cells
) -> int:
    """Fill `late` with kind and slot of each late debt; return how many there are.

    `last` is the time of the pass before.  A vCPU or ring whose time in `due_` is yet
    to come was read lately and cannot be late before.
    """
    found = 0
    on_grid = now // limits.grid != last // limits.grid
    for slot in range(len(pools.vms)):
        kind = _late_vm(pools.vms[slot], limits, now, on_grid)
        if kind != 0:
            late[found].kind, late[found].slot = kind, slot
            found += 1
    for slot in range(len(pools.vcpus)):
        if now < pools.due_vcpus[slot]:
            continue
        if _may_be_late_vcpu(pools.vcpus[slot], limits, now):
            late[found].kind, late[found].slot = VCPU, slot
            found += 1
    for slot in range(len(pools.rings)):
        if now < pools.due_rings[slot]:
            continue
        if _may_be_late_ring(pools.rings[slot], limits, now):
            late[found].kind, late[found].slot = BACKEND, slot
            found += 1
    return found
