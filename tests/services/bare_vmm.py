# SPDX-License-Identifier: Apache-2.0
"""A VM that gets no further than its firmware: enough to be killed and replaced."""

from __future__ import annotations


def bare_vmm(name: str, *options: str) -> list[str]:
    """Its command line."""
    return [
        *("qemu-system-x86_64", "-name", f"guest={name}", "-accel", "kvm", "-m", "32"),
        *("-nodefaults", "-display", "none", *options),
    ]
