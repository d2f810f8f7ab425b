# SPDX-License-Identifier: Apache-2.0
"""Watches the virtual machines of a KVM host from outside, by eBPF.

Everything observed owes somebody progress; a debt that is paid too late is a
suspicion, and only a confirmed suspicion becomes a verdict.
"""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
