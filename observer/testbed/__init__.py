# SPDX-License-Identifier: Apache-2.0
"""A nested KVM host on any machine: another kernel over this root file system.

It needs neither root nor a usable /dev/kvm, and ends with whoever started it.
"""
