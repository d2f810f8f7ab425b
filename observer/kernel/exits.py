# SPDX-License-Identifier: Apache-2.0
"""Why a vCPU left its guest: what is asked about the `reason` in its cell."""

from __future__ import annotations

__all__ = ["ISA_SVM", "ISA_VMX", "is_triple_fault"]

ISA_VMX = 1
ISA_SVM = 2
"""As arch/x86/kvm/trace.h has them."""

SVM_EXIT_SHUTDOWN = 0x7F
EXIT_REASON_TRIPLE_FAULT = 2


def is_triple_fault(isa: int, reason: int) -> bool:
    """The guest can run no more: its VMM ends or resets it (uapi/asm/svm.h, vmx.h)."""
    if isa == ISA_SVM:
        return reason == SVM_EXIT_SHUTDOWN
    return isa == ISA_VMX and reason & 0xFFFF == EXIT_REASON_TRIPLE_FAULT
