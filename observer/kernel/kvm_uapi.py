# SPDX-License-Identifier: Apache-2.0
"""Numbers of the KVM ioctls that we make: uapi/linux/kvm.h for x86."""

from __future__ import annotations

__all__ = [
    "KVM_API_VERSION",
    "KVM_CREATE_IRQCHIP",
    "KVM_CREATE_VCPU",
    "KVM_CREATE_VM",
    "KVM_GET_API_VERSION",
]

KVM_API_VERSION = 12
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_CREATE_VCPU = 0xAE41
KVM_CREATE_IRQCHIP = 0xAE60
