# SPDX-License-Identifier: Apache-2.0
"""Checks of the kernel: its age, its type information, its file systems for tracing."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from observer.doctor.finding import Finding, missing, ok, warn

if TYPE_CHECKING:
    from observer.doctor.host import Host

__all__ = ["bpffs", "kernel", "lockdown", "mounted", "tracefs", "vmlinux_btf"]

OLDEST_KERNEL = (5, 15)
"""The first long-term kernel with bpf_timer, which tells the observer what is late."""


def mounted(host: Host, kind: str) -> list[tuple[str, bool]]:
    """Where a kind of file system is mounted, and whether it may be written to."""
    entries = (line.split() for line in host.read("/proc/self/mounts").splitlines())
    return [
        (entry[1], "rw" in entry[3].split(","))
        for entry in entries
        if len(entry) > 3 and entry[2] == kind  # noqa: PLR2004 - fstab's columns
    ]


def kernel(host: Host) -> Finding:
    """Whether the kernel has what the programs are built on."""
    version = re.match(r"(\d+)\.(\d+)", host.release)
    if version is None:
        return missing(
            "kernel",
            f"{host.path('/proc/sys/kernel/osrelease')} names no kernel release",
            "Mount /proc and run this on the host itself.",
        )
    if (int(version[1]), int(version[2])) < OLDEST_KERNEL:
        return missing(
            "kernel",
            f"Linux {host.release} is too old: bpf_timer needs 5.15",
            "Boot Linux 5.15 or newer, e.g. Debian 12.",
        )
    return ok("kernel", f"Linux {host.release}")


def vmlinux_btf(host: Host) -> Finding:
    """Whether the kernel describes its own types."""
    if host.path("/sys/kernel/btf/vmlinux").exists():
        return ok("vmlinux-btf", "the kernel describes its types")
    return missing(
        "vmlinux-btf",
        "there is no /sys/kernel/btf/vmlinux",
        "Boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; every Debian kernel is.",
    )


def tracefs(host: Host) -> Finding:
    """Whether classic tracepoints can be attached: only they carry exit reasons."""
    mounts = mounted(host, "tracefs")
    if mounts:
        return ok("tracefs", f"mounted on {mounts[0][0]}")
    return missing(
        "tracefs",
        "tracefs is not mounted, so the reasons of VM exits cannot be seen",
        "Run: mount -t tracefs tracefs /sys/kernel/tracing",
    )


def bpffs(host: Host) -> Finding:
    """Whether the books can be pinned, to outlive a restart of the observer."""
    mounts = mounted(host, "bpf")
    if not mounts:
        return missing(
            "bpffs",
            "no bpf file system is mounted, so nothing can be pinned",
            "Run: mount -t bpf bpf /sys/fs/bpf",
        )
    folder, writable = mounts[0]
    if not writable:
        return missing(
            "bpffs",
            f"{folder} is mounted read-only",
            f"Run: mount -o remount,rw {folder}",
        )
    if not os.access(host.path(folder), os.W_OK):
        return missing(
            "bpffs", f"{folder} may not be written to by this user", "Run as root."
        )
    return ok("bpffs", f"{folder} is writable")


def lockdown(host: Host) -> Finding:
    """Whether the kernel's lockdown forbids BPF to read kernel memory."""
    modes = host.read("/sys/kernel/security/lockdown")
    if "[confidentiality]" in modes:
        return missing(
            "lockdown",
            "locked down for confidentiality: BPF may not read kernel memory",
            "Boot with lockdown=integrity or lockdown=none.",
        )
    if "[integrity]" in modes:
        return ok("lockdown", "integrity, which leaves BPF alone")
    if "[none]" in modes or not modes:
        return ok("lockdown", "none")
    return warn(
        "lockdown",
        f"unknown mode {modes.strip()}",
        "Watch for refused programs.",
    )
