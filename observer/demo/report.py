# SPDX-License-Identifier: Apache-2.0
"""The demo's rows and what is said with them: `build/demo/report.json`."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import msgspec

from observer import __version__

__all__ = ["HostFacts", "Report", "Row", "host_facts", "write_report"]


class Row(msgspec.Struct, frozen=True):
    """One case, as every report here has it; None where it does not apply."""

    design: str
    fault: str
    subject: str
    verdict: str | None
    detected: bool
    detection_ms: float | None
    repaired: bool
    recovery_ms: float | None
    lost_packets: int | None
    evidence: str
    passed: bool
    expected: str
    within_ms: float | None


class HostFacts(msgspec.Struct, frozen=True):
    """Where it was measured; times of an emulated host compare, they do not claim."""

    kernel: str
    cpu: str
    cpus: int
    accelerator: str
    nested: bool
    observer: str
    python: str
    qemu: str
    seed: int | None


class Report(msgspec.Struct, frozen=True):
    """All of a run."""

    host: HostFacts
    passed: bool
    seconds: float
    rows: list[Row]


def _cpu_model(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _qemu_version() -> str:
    done = subprocess.run(
        ["qemu-system-x86_64", "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.stdout.splitlines()[0] if done.stdout else "unknown"


def host_facts(proc: Path = Path("/proc")) -> HostFacts:
    """Tell the host that we run on."""
    cpuinfo = (proc / "cpuinfo").read_text()
    emulated = "TCG" in _cpu_model(cpuinfo) or "QEMU" in _cpu_model(cpuinfo)
    return HostFacts(
        kernel=platform.release(),
        cpu=_cpu_model(cpuinfo),
        cpus=os.cpu_count() or 0,
        accelerator="KVM on an emulated CPU" if emulated else "KVM",
        nested="hypervisor" in cpuinfo,
        observer=__version__,
        python=platform.python_version(),
        qemu=_qemu_version(),
        seed=None,  # nothing here is drawn by chance
    )


def write_report(report: msgspec.Struct, path: Path) -> None:
    """Write it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    part.replace(path)
