# SPDX-License-Identifier: Apache-2.0
"""Checks of what this process may do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from observer.doctor.finding import Finding, missing, ok, warn

if TYPE_CHECKING:
    from observer.doctor.host import Host

__all__ = ["capabilities", "effective", "memlock", "raw_frames", "unprivileged_bpf"]

BITS = {
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""From the kernel's uapi/linux/capability.h."""

TO_RUN = ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN")
"""SYS_ADMIN, since nothing less may look up a module's BTF by its number."""


def effective(host: Host) -> frozenset[str]:
    """The capabilities among `BITS` that this process has."""
    status = host.read("/proc/self/status")
    line = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    mask = int(line[1], 16) if line else 0
    return frozenset(name for name, bit in BITS.items() if mask >> bit & 1)


def capabilities(host: Host) -> Finding:
    """Whether this process may load programs and look into VMs."""
    lacking = [name for name in TO_RUN if name not in effective(host)]
    if lacking:
        return missing(
            "capabilities", f"this process has no {', '.join(lacking)}", "Run as root."
        )
    return ok("capabilities", ", ".join(TO_RUN))


def raw_frames(host: Host) -> Finding:
    """Whether this process may send the frame that asks a silent VM."""
    if "CAP_NET_RAW" in effective(host):
        return ok("raw-frames", "CAP_NET_RAW")
    return missing(
        "raw-frames",
        "this process has no CAP_NET_RAW, so silent VMs cannot be asked",
        "Run as root.",
    )


def memlock(host: Host) -> Finding:
    """What bounds the maps' memory."""
    limits = host.read("/proc/self/limits")
    line = re.search(r"^Max locked memory\s+(\S+)", limits, re.MULTILINE)
    # Linux 5.11 accounts BPF memory to the cgroup and no longer to RLIMIT_MEMLOCK:
    # d5299b67dd59 ("bpf: Memcg-based memory accounting for bpf maps").
    shown = line[1] if line else "unknown"
    return ok("memlock", f"limit {shown}; BPF memory counts to the cgroup instead")


def unprivileged_bpf(host: Host) -> Finding:
    """Whether others may load programs too: no matter to us, but to the host."""
    value = host.read("/proc/sys/kernel/unprivileged_bpf_disabled").strip()
    if value == "0":
        return warn(
            "unprivileged-bpf",
            "every user may load BPF programs, a risk to the host, not to us",
            "Run: sysctl kernel.unprivileged_bpf_disabled=2",
        )
    return ok("unprivileged-bpf", "off for users, which does not concern root")
