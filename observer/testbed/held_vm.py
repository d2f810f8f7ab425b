# SPDX-License-Identifier: Apache-2.0
"""A VM that never runs, held for as long as the nested host lives.

A kernel patches its own code when the first VM comes, when the last one goes, and a
second after each guest has enabled its APIC (`static_branch_*` in virt/kvm and
arch/x86/kvm/lapic.c).  QEMU may keep the translation of code that another CPU is just
patching; before 8.1 it locked a page only after it had translated it.  The breakpoint
that marks such code while it is patched then stays: Linux 6.12 died of it ("Oops:
int3").  While this VM exists those keys do not change.
"""

from __future__ import annotations

import fcntl
import os

from observer.kernel.kvm_uapi import (
    KVM_CREATE_IRQCHIP,
    KVM_CREATE_VCPU,
    KVM_CREATE_VM,
)

__all__ = ["hold_vm"]


def hold_vm(device: str = "/dev/kvm") -> tuple[int, ...]:
    """Make it; its descriptors, to be kept open.  None where there is no KVM."""
    try:
        kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    fcntl.ioctl(vm, KVM_CREATE_IRQCHIP, 0)
    return kvm, vm, fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
