# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of faults and of harmless cases that a Linux guest can be put into."""

from __future__ import annotations

from observer.inject import hogs, orders, planned, processes, starvation
from observer.inject.injection import Fault

__all__ = ["GUEST_FAULTS"]

GUEST_FAULTS = {
    "vmm-crash": Fault(
        "Kill QEMU, process {guest.pid}, by SIGKILL.", processes.crash_vmm
    ),
    "vmm-stop": Fault(
        "Stop QEMU, process {guest.pid}, by SIGSTOP.", processes.stop_vmm, passing=True
    ),
    "backend-crash": Fault(
        "Kill qemu-storage-daemon, process {guest.disk_pid}, by SIGKILL.",
        processes.crash_backend,
    ),
    "backend-hang": Fault(
        "Stop qemu-storage-daemon, process {guest.disk_pid}, by SIGSTOP while "
        "{guest.name} reads its disk.",
        processes.hang_backend,
        passing=True,
    ),
    "backend-starved": Fault(
        "Take the CPU from vhost-{guest.pid} by a real-time loop while {guest.name} "
        "sends packets.",
        starvation.starve_backend,
        passing=True,
    ),
    "guest-panic": Fault("Have the kernel of {guest.name} panic.", orders.panic),
    "guest-irqoff-spin": Fault(
        "Have all vCPUs of {guest.name} loop with interrupts off.", orders.spin
    ),
    "guest-halt": Fault(
        "Have all vCPUs of {guest.name} halt with interrupts off.", orders.halt
    ),
    "vcpu-lockup": Fault(
        "Have the last of the {guest.spec.vcpus} vCPUs of {guest.name} loop with "
        "interrupts off.",
        orders.lock_up,
        least_vcpus=2,
    ),
    "lost-kick": Fault(
        "Have {guest.name} lose its next kick of the ring that it sends by.",
        orders.lose_kick,
    ),
    "lost-call": Fault(
        "Have {guest.name} miss the next interrupt of the ring that it receives by.",
        orders.lose_call,
    ),
    "idle": Fault(
        "Leave {guest.name} with nothing to do.", orders.be_idle, silent=True
    ),
    "busy": Fault(
        "Load the CPU, the network and the disk of {guest.name}.",
        orders.be_busy,
        passing=True,
        silent=True,
    ),
    "link-down": Fault(
        "Have {guest.name} take its network down.",
        orders.link_down,
        passing=True,
        silent=True,
    ),
    "boot": Fault(
        "Boot another guest like {guest.name}.",
        planned.boot,
        passing=True,
        silent=True,
    ),
    "paused": Fault(
        "Stop {guest.name} by its monitor.", planned.pause, passing=True, silent=True
    ),
    "snapshot": Fault(
        "Save the state of {guest.name} to a file, and let it go on.",
        planned.snapshot,
        passing=True,
        silent=True,
    ),
    "host-overload": Fault(
        "Run three busy processes on each CPU of this host.",
        hogs.overload_host,
        passing=True,
        silent=True,
    ),
}
