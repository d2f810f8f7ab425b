# SPDX-License-Identifier: Apache-2.0
"""What follows from suspicions and verdicts: of whom they are, what explains them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.model import SuspicionKind, VerdictKind

if TYPE_CHECKING:
    from observer.model import Verdict

__all__ = ["ACTIONS", "CAUSES", "OF_GUEST", "is_event"]

ACTIONS = {
    VerdictKind.VMM_CRASHED: "would restart the VM",
    VerdictKind.VMM_STOPPED: "would continue the VMM (SIGCONT), else restart the VM",
    VerdictKind.VMM_HUNG: "would restart the VM",
    VerdictKind.BACKEND_CRASHED: "would restart the back end",
    VerdictKind.BACKEND_HUNG: "would kick it again, else bounce the link",
    VerdictKind.BACKEND_STARVED: "would give the back end a CPU; no restart helps",
    VerdictKind.BACKEND_BLOCKED: "would alert: the host's storage is stuck",
    VerdictKind.GUEST_HUNG: "would call the guest again, else reset it",
    VerdictKind.VCPU_HUNG: "would inject an NMI, else reset the guest",
    VerdictKind.SERVICE_CRASHED: "would restart the service, or switch to its spare",
    VerdictKind.SERVICE_HUNG: "would restart the service, or switch to its spare",
    VerdictKind.PART_HUNG: "would reset the part, else restart the service",
}

OF_GUEST = frozenset(
    {
        SuspicionKind.CALLED,
        SuspicionKind.UNANSWERED,
        SuspicionKind.UNCONSUMED,
        SuspicionKind.HALTED,
        SuspicionKind.PANIC,
    }
)

# What an open verdict on the same VM explains.
CAUSES = {
    VerdictKind.GUEST_HUNG: (
        VerdictKind.VCPU_HUNG,
        VerdictKind.VMM_STOPPED,
        VerdictKind.VMM_HUNG,
        VerdictKind.SERVICE_HUNG,
        VerdictKind.SERVICE_CRASHED,
    ),
    VerdictKind.VCPU_HUNG: (VerdictKind.SERVICE_HUNG, VerdictKind.SERVICE_CRASHED),
    VerdictKind.SERVICE_HUNG: (
        VerdictKind.VMM_STOPPED,
        VerdictKind.VMM_HUNG,
        VerdictKind.SERVICE_CRASHED,
    ),
    VerdictKind.PART_HUNG: (
        VerdictKind.SERVICE_HUNG,
        VerdictKind.SERVICE_CRASHED,
        VerdictKind.BACKEND_HUNG,
    ),
}


def is_event(verdict: Verdict) -> bool:
    """Whether it is told once, and its end says nothing of how things are."""
    if verdict.kind is VerdictKind.BACKEND_CRASHED:
        return not verdict.server
    return verdict.kind in (VerdictKind.VMM_CRASHED, VerdictKind.SERVICE_CRASHED)
