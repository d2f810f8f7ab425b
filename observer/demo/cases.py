# SPDX-License-Identifier: Apache-2.0
"""What the demo does: which fault, on which guest, and what must be said of it."""

from __future__ import annotations

import msgspec

from observer.clock import MS
from observer.config import Limits
from observer.model import VerdictKind

__all__ = ["FAULTS", "SILENT", "FaultCase", "SilentCase", "guests_of"]

CRASH_MS = 20.0
EMULATED_MS = 50.0  # what an emulated host takes to say it
BACKEND_MS = Limits().backend / MS + EMULATED_MS
STARVED_MS = Limits().starved / MS + EMULATED_MS
GUEST_MS = 1000.0


class FaultCase(msgspec.Struct, frozen=True):
    """A fault, and the verdict that it must bring within `within_ms`.

    `subject` with `{vm}` in it stands for the VM's name.  A guest serves one case after
    another until one is `fatal` to it.
    """

    fault: str
    guest: str
    kind: VerdictKind
    subject: str
    within_ms: float
    vcpus: int = 1
    fatal: bool = False


class SilentCase(msgspec.Struct, frozen=True):
    """Something that looks odd and is no fault: nothing may be said."""

    name: str
    guest: str = "web1"
    seconds: float = 6.0


FAULTS = (
    FaultCase(
        "backend-starved", "web1", VerdictKind.BACKEND_STARVED, "vhost-*", STARVED_MS
    ),
    FaultCase(
        "backend-hang",
        "web1",
        VerdictKind.BACKEND_HUNG,
        "qemu-storage-daemon",
        BACKEND_MS,
    ),
    FaultCase(
        "backend-crash",
        "web1",
        VerdictKind.BACKEND_CRASHED,
        "qemu-storage-daemon",
        CRASH_MS,
    ),
    FaultCase("vmm-stop", "web1", VerdictKind.VMM_STOPPED, "{vm}", GUEST_MS),
    FaultCase(
        "guest-panic", "web1", VerdictKind.GUEST_HUNG, "guest", GUEST_MS, fatal=True
    ),
    FaultCase(
        "guest-irqoff-spin",
        "web2",
        VerdictKind.GUEST_HUNG,
        "guest",
        GUEST_MS,
        fatal=True,
    ),
    FaultCase(
        "guest-halt", "web3", VerdictKind.GUEST_HUNG, "guest", GUEST_MS, fatal=True
    ),
    FaultCase("vcpu-lockup", "db1", VerdictKind.VCPU_HUNG, "vcpu1", GUEST_MS, vcpus=2),
    FaultCase(
        "vmm-crash",
        "db1",
        VerdictKind.VMM_CRASHED,
        "{vm}",
        CRASH_MS,
        vcpus=2,
        fatal=True,
    ),
)

SILENT = (
    SilentCase("boot"),
    SilentCase("idle"),
    SilentCase("busy"),
    SilentCase("paused"),
    SilentCase("snapshot"),
    SilentCase("host-overload"),
)


def guests_of(faults: tuple[FaultCase, ...]) -> dict[str, int]:
    """Names of the guests that these cases need, with their vCPUs, in order."""
    return {case.guest: case.vcpus for case in faults}
