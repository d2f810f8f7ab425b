# SPDX-License-Identifier: Apache-2.0
"""All findings, and what they mean for what the observer can do on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.doctor import kernel, loaders, programs, rights, virtualisation
from observer.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from observer.doctor.host import Host

__all__ = ["ABILITIES", "CHECKS", "Ability", "Report", "examine", "summarise"]

CHECKS: tuple[Callable[[Host], Finding], ...] = (
    kernel.kernel,
    kernel.vmlinux_btf,
    virtualisation.kvm,
    virtualisation.vendor_module,
    virtualisation.kvm_btf,
    virtualisation.vhost_net,
    virtualisation.tun,
    virtualisation.virtual_machines,
    loaders.libbpf,
    loaders.bcc,
    loaders.bcc_headers,
    rights.capabilities,
    rights.raw_frames,
    rights.memlock,
    rights.unprivileged_bpf,
    kernel.lockdown,
    kernel.bpffs,
    kernel.tracefs,
    programs.qemu,
    programs.storage_daemon,
    programs.busybox,
    programs.perf,
    programs.bpftrace,
)

_WATCHING = (
    "kernel",
    "vmlinux-btf",
    "kvm",
    "kvm-vendor",
    "kvm-btf",
    "capabilities",
    "lockdown",
    "bpffs",
    "tracefs",
)

ABILITIES = {
    "observer run": (*_WATCHING, "libbpf"),
    "observer run --loader bcc": (*_WATCHING, "bcc", "bcc-headers"),
    "probe frames": ("raw-frames", "tun"),
    "observer testbed": ("qemu", "busybox"),
    "observer demo": ("qemu", "busybox", "storage-daemon"),
    "observer bench": ("qemu", "busybox", "perf", "bpftrace"),
}
"""What each ability stands on, by the findings' names."""

ALWAYS_NEEDED = frozenset({"qemu", "busybox", "storage-daemon", "perf", "bpftrace"})
"""A missing program is only a warning to `run`, but without it its own verb ends."""


class Ability(msgspec.Struct, frozen=True):
    """Something that the observer can do here, or why it cannot."""

    name: str
    works: bool
    because: str
    """The names of the findings in its way; empty when it works."""


class Report(msgspec.Struct, frozen=True):
    """What `observer doctor` says."""

    findings: tuple[Finding, ...]
    abilities: tuple[Ability, ...]
    install: str
    """The line that installs what is missing; empty when nothing is."""
    runs: bool
    """Whether `observer run` will work."""


def _in_the_way(finding: Finding) -> bool:
    if finding.name in ALWAYS_NEEDED:
        return finding.state != "ok"
    return finding.state == "missing"


def _install_line(findings: Iterable[Finding]) -> str:
    names = sorted({package for finding in findings for package in finding.packages})
    return f"sudo apt-get install -y {' '.join(names)}" if names else ""


def summarise(findings: tuple[Finding, ...]) -> Report:
    """What the findings amount to."""
    blocking = {finding.name for finding in findings if _in_the_way(finding)}
    abilities = tuple(
        Ability(
            name,
            works=not blocking.intersection(needs),
            because=", ".join(need for need in needs if need in blocking),
        )
        for name, needs in ABILITIES.items()
    )
    return Report(
        findings,
        abilities,
        install=_install_line(findings),
        runs=abilities[0].works,
    )


def examine(host: Host) -> Report:
    """Run every check."""
    return summarise(tuple(check(host) for check in CHECKS))
