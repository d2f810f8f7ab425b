# SPDX-License-Identifier: Apache-2.0
"""Checks of other programs: they serve the nested host and the benches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.doctor.finding import Finding, ok, warn

if TYPE_CHECKING:
    from observer.doctor.host import Host

__all__ = ["bpftrace", "busybox", "perf", "qemu", "storage_daemon"]


def _program(host: Host, name: str, program: str, package: str, use: str) -> Finding:
    found = host.which(program)
    if found:
        return ok(name, found)
    return warn(
        name,
        f"{program} is not installed; {use} needs it",
        f"Run: apt-get install {package}",
        package,
    )


def qemu(host: Host) -> Finding:
    """QEMU, which runs the nested host and the guests of the demo."""
    return _program(
        host, "qemu", "qemu-system-x86_64", "qemu-system-x86", "observer testbed"
    )


def storage_daemon(host: Host) -> Finding:
    """QEMU's storage daemon, the vhost-user back end of the demo's guests."""
    return _program(
        host, "storage-daemon", "qemu-storage-daemon", "qemu-utils", "observer demo"
    )


def busybox(host: Host) -> Finding:
    """The static busybox, user space of nested host and guests."""
    return _program(host, "busybox", "busybox", "busybox-static", "observer testbed")


def perf(host: Host) -> Finding:
    """What operators count VM exits with today."""
    return _program(host, "perf", "perf", "linux-perf", "observer bench")


def bpftrace(host: Host) -> Finding:
    """The usual way to count VM exits by reason."""
    return _program(host, "bpftrace", "bpftrace", "bpftrace", "observer bench")
