# SPDX-License-Identifier: Apache-2.0
"""What follows from a kind of verdict: what it explains, and what might be done."""

from __future__ import annotations

from observer.model import VerdictKind

__all__ = ["ACTIONS", "CAUSES", "EVENTS"]

ACTIONS = {
    VerdictKind.VMM_CRASHED: "would restart the VM",
    VerdictKind.VMM_STOPPED: "would continue the VMM (SIGCONT), else restart the VM",
    VerdictKind.VMM_HUNG: "would restart the VM",
    VerdictKind.BACKEND_CRASHED: "would restart the back end",
    VerdictKind.BACKEND_HUNG: "would re-kick the ring, else restart the back end",
    VerdictKind.BACKEND_STARVED: "would give the back end a CPU; no restart helps",
    VerdictKind.BACKEND_BLOCKED: "would alert: the host's storage is stuck",
    VerdictKind.GUEST_HUNG: "would reset the guest",
    VerdictKind.VCPU_HUNG: "would inject an NMI, else reset the guest",
    VerdictKind.SERVICE_HUNG: "would restart the service, or switch to its spare",
    VerdictKind.PART_HUNG: "would reset the part, else restart the service",
}

# They are told once and then closed, which says nothing of whether all is well.
EVENTS = (VerdictKind.VMM_CRASHED, VerdictKind.BACKEND_CRASHED)

# What an open verdict on the same VM explains.
CAUSES = {
    VerdictKind.GUEST_HUNG: (
        VerdictKind.VCPU_HUNG,
        VerdictKind.VMM_STOPPED,
        VerdictKind.VMM_HUNG,
        VerdictKind.SERVICE_HUNG,
    ),
    VerdictKind.VCPU_HUNG: (VerdictKind.SERVICE_HUNG,),
    VerdictKind.SERVICE_HUNG: (VerdictKind.VMM_STOPPED, VerdictKind.VMM_HUNG),
    VerdictKind.PART_HUNG: (VerdictKind.SERVICE_HUNG, VerdictKind.BACKEND_HUNG),
}
