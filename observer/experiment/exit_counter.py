# SPDX-License-Identifier: Apache-2.0
"""Counts a vCPU's exits of some kinds, for comparators.

A perf counter (perf_event_open(2)) on the tracepoint `kvm:kvm_exit`, filtered in the
kernel: to read it is one system call, and none of our BPF has a part in it.  KVM's own
statistics do not tell one vCPU from another where the VMM does not ask for them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import HostError
from observer.inventory.procfs import read_proc
from observer.inventory.task import tasks_of
from observer.kernel.exits import ISA_SVM, ISA_VMX

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXCHANGE", "OWN", "ExitCounter", "vcpu_threads"]

PROC = Path("/proc")
EVENT = Path("/sys/kernel/tracing/events/kvm/kvm_exit/id")
# include/uapi/linux/perf_event.h
PERF_TYPE_TRACEPOINT = 2
PERF_FLAG_FD_CLOEXEC = 8
PERF_EVENT_IOC_SET_FILTER = 0x40082406
SYS_PERF_EVENT_OPEN = 298  # arch/x86/entry/syscalls/syscall_64.tbl
ANY_CPU, NO_GROUP = -1, -1
COUNT_BYTES = 8
# What proves no life of the guest, as bpf/exit_reasons.h has it: the host's interrupts,
# windows for them, and PAUSE, which a vCPU that spins makes as well.
_BY_HOST_VMX = (0, 1, 3, 7, 8, 40, 52, 75)
_OF_VMX = " && ".join(f"exit_reason != {reason}" for reason in _BY_HOST_VMX)
_OF_SVM = "(exit_reason < 0x60 || exit_reason > 0x64) && exit_reason != 0x77"
OWN = f"(isa == {ISA_VMX} && {_OF_VMX}) || (isa == {ISA_SVM} && {_OF_SVM})"
"""Exits that a vCPU makes by its own doing."""

# arch/x86/include/uapi/asm/vmx.h and svm.h: I/O ports, and MMIO, which is a page that
# is not there.  Of a page AMD has the address as its second word (svm_get_exit_info).
# There memory and the interrupt controllers are such pages as well: a service's devices
# lie from 3 GiB on (unikernels/lib/pci.c), the controllers where each PC has them.
# Intel has other exits for its local APIC.
_PORT_VMX, _MMIO_VMX, _PORT_SVM, _MMIO_SVM = 30, (48, 49), 0x7B, 0x400
_DEVICES, _CONTROLLERS, _AFTER_CONTROLLERS = 0xC0000000, 0xFEC00000, 0xFEF00000
_TO_VMX = " || ".join(f"exit_reason == {r}" for r in (_PORT_VMX, *_MMIO_VMX))
_AT_DEVICE = (
    f"info2 >= {_DEVICES:#x} && "
    f"(info2 < {_CONTROLLERS:#x} || info2 >= {_AFTER_CONTROLLERS:#x})"
)
_TO_SVM = (
    f"exit_reason == {_PORT_SVM:#x} || (exit_reason == {_MMIO_SVM:#x} && {_AT_DEVICE})"
)
EXCHANGE = f"(isa == {ISA_VMX} && ({_TO_VMX})) || (isa == {ISA_SVM} && ({_TO_SVM}))"
"""Exits by which a service exchanges something with its devices."""
_VCPU = re.compile(r"CPU (\d+)/KVM")


class _Attr(ctypes.Structure):
    """`struct perf_event_attr`, as long as it was at first."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
    )


def vcpu_threads(pid: int, proc: Path = PROC) -> Iterator[tuple[int, int]]:
    """Number and thread of each vCPU, by the names that QEMU gives to debug threads."""
    for thread in tasks_of(proc, pid):
        try:
            name = read_proc(proc / f"{pid}/task/{thread}/comm")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if vcpu := _VCPU.match(name):
            yield int(vcpu[1]), thread


class ExitCounter:
    """One vCPU's, from now on."""

    def __init__(self, thread: int, only: str) -> None:
        """`only` is the kernel's filter of those that are counted.

        Raises ProcessLookupError if it is gone, HostError where it cannot be counted.
        """
        try:
            attr = _Attr(
                type=PERF_TYPE_TRACEPOINT,
                size=ctypes.sizeof(_Attr),
                config=int(EVENT.read_text()),
            )
            self._fd = _opened(attr, thread)
        except ProcessLookupError:
            raise
        except OSError as e:
            raise HostError(
                f"The exits of thread {thread} cannot be counted ({e.strerror}): run "
                "as root, where KVM is loaded and tracefs is mounted."
            ) from e
        fcntl.ioctl(self._fd, PERF_EVENT_IOC_SET_FILTER, only.encode())

    def read(self) -> int:
        """How many there were."""
        return int.from_bytes(os.read(self._fd, COUNT_BYTES), "little")

    def close(self) -> None:
        """Count no more."""
        os.close(self._fd)


def _opened(attr: _Attr, thread: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    argument = (ctypes.byref(attr), thread, ANY_CPU, NO_GROUP, PERF_FLAG_FD_CLOEXEC)
    fd = int(libc.syscall(SYS_PERF_EVENT_OPEN, *argument))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd
