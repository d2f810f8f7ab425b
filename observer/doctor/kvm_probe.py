# SPDX-License-Identifier: Apache-2.0
"""Runs one instruction in a virtual machine, to see that a KVM device works.

The guest is a page with OUT in it, started in real mode; KVM must come back with
KVM_EXIT_IO. It has an interrupt controller, for KVM patches its own code for the first
vCPU that has none (`kvm_has_noapic_vcpu`), and other VMs run in that code. Numbers and
offsets are those of the kernel's uapi/linux/kvm.h for x86.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING

from observer.kernel.kvm_uapi import (
    KVM_API_VERSION,
    KVM_CREATE_IRQCHIP,
    KVM_CREATE_VCPU,
    KVM_CREATE_VM,
    KVM_GET_API_VERSION,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["run_one_instruction"]

KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84
KVM_EXIT_IO = 2

SREGS_BYTES = 0x138
REGS_BYTES = 0x90
REGS_RIP = 16 * 8
REGS_RFLAGS = 17 * 8
CS_SELECTOR = 12
RUN_EXIT_REASON = 8

GUEST_ADDRESS = 0x1000
OUT_TO_PORT_80 = bytes((0xE6, 0x80))
RFLAGS_ALWAYS_ONE = 0x2


def _enter_real_mode(vcpu: int) -> None:
    """Point the vCPU at the page, with a flat code segment at 0."""
    sregs = bytearray(fcntl.ioctl(vcpu, KVM_GET_SREGS, bytes(SREGS_BYTES)))
    struct.pack_into("=Q", sregs, 0, 0)
    struct.pack_into("=H", sregs, CS_SELECTOR, 0)
    fcntl.ioctl(vcpu, KVM_SET_SREGS, bytes(sregs))
    regs = bytearray(REGS_BYTES)
    struct.pack_into("=Q", regs, REGS_RIP, GUEST_ADDRESS)
    struct.pack_into("=Q", regs, REGS_RFLAGS, RFLAGS_ALWAYS_ONE)
    fcntl.ioctl(vcpu, KVM_SET_REGS, bytes(regs))


def run_one_instruction(device: Path) -> None:
    """Run OUT under `device`; raise OSError when that does not come back as OUT."""
    with ExitStack() as stack:

        def kept(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        kvm = kept(os.open(device, os.O_RDWR | os.O_CLOEXEC))
        version = fcntl.ioctl(kvm, KVM_GET_API_VERSION, 0)
        if version != KVM_API_VERSION:
            raise OSError(errno.EPROTO, f"KVM speaks API version {version}, not 12")
        page = mmap.mmap(-1, mmap.PAGESIZE)
        page[: len(OUT_TO_PORT_80)] = OUT_TO_PORT_80
        # The view must go before the page may be unmapped.
        start = ctypes.addressof(ctypes.c_char.from_buffer(page))
        vm = kept(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
        region = struct.pack("=IIQQQ", 0, 0, GUEST_ADDRESS, mmap.PAGESIZE, start)
        fcntl.ioctl(vm, KVM_CREATE_IRQCHIP, 0)
        fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, region)
        vcpu = kept(fcntl.ioctl(vm, KVM_CREATE_VCPU, 0))
        shared_bytes = fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0)
        shared = stack.enter_context(mmap.mmap(vcpu, shared_bytes))
        _enter_real_mode(vcpu)
        fcntl.ioctl(vcpu, KVM_RUN, 0)
        (reason,) = struct.unpack_from("=I", shared, RUN_EXIT_REASON)
        if reason != KVM_EXIT_IO:
            raise OSError(errno.EIO, f"OUT came back as KVM exit reason {reason}")
