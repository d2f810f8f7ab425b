# SPDX-License-Identifier: Apache-2.0
"""What `observer status` says of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from observer.loops.repairs import Repairs
    from observer.watch import Watch

__all__ = ["describe_repairs", "describe_vm"]


def describe_vm(watch: Watch, vm_slot: int) -> dict[str, Any]:
    """Tell what is known of a VM."""
    vm, cell = watch.vms[vm_slot], watch.books.vms[vm_slot]
    verdicts = [v for (slot, _), v in watch.open.items() if slot == vm_slot]
    return {
        "name": vm.name,
        "spare": watch.stands_by(vm),
        "pid": vm.pid,
        "vcpus": len(watch.vcpus_of(vm_slot)),
        "rings": len(watch.ring_slots(vm_slot)),
        "taps": vm.taps,
        "back_ends": [{"pid": b.pid, "name": b.name} for b in vm.back_ends],
        "state": verdicts[0].kind if verdicts else _state(watch, vm_slot),
        "sign_age_ns": watch.clock.now_ns() - int(cell["sign_ns"]),
        "kicks": int(cell["kicks"]),
        "calls": int(cell["calls"]),
        "inhibited_ns": watch.inhibitions.left_ns(vm.name),
        "verdicts": verdicts,
    }


def _state(watch: Watch, vm_slot: int) -> str:
    if watch.stands_by(watch.vms[vm_slot]):
        return "standby"
    if watch.is_booting(vm_slot):
        return "booting"
    return "held" if watch.books.vms[vm_slot]["hushed"] else "running"


def describe_repairs(repairs: Repairs | None) -> list[dict[str, Any]]:
    """Tell of what is being repaired."""
    return [
        {
            "vm": loop.verdict.vm,
            "subject": loop.verdict.subject,
            "kind": loop.verdict.kind,
            "state": loop.state,
            "why": loop.why,
        }
        for loop in (repairs.loops.values() if repairs else ())
    ]
