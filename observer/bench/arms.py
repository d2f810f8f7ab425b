# SPDX-License-Identifier: Apache-2.0
"""All that is compared, in the order of the table, with what cannot run here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from observer.bench import bpf_tools, perf
from observer.bench.daemons import SCANNING, SLEEPING
from observer.bench.tool import Arm, no_tool
from observer.doctor.host import this_host
from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["kvmexit_lacks", "table_of_arms"]


def _scanning_lacks() -> str | None:
    from observer.kernel.bcc import check_bcc

    try:
        check_bcc(this_host())
    except HostError as e:
        return e.message
    return None


def _program_lacks(program: str, package: str) -> str | None:
    if shutil.which(program):
        return None
    return f"{program} is missing: apt install {package}"


def kvmexit_lacks(
    cpuinfo: str, which: Callable[[str], str | None] = shutil.which
) -> str | None:
    """Why bcc's kvmexit does not run here."""
    if "GenuineIntel" not in cpuinfo:
        return "Debian 12's kvmexit knows Intel's exit reasons only and refuses others"
    if which("kvmexit-bpfcc") is None:
        return "kvmexit-bpfcc is missing: apt install bpfcc-tools"
    return None


def table_of_arms(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[Arm]:
    """Every arm, the one that all are compared with first."""
    no_perf = _program_lacks("perf", "linux-perf")
    return [
        Arm("none", "no tool", no_tool),
        Arm("sleeping", "observer run: every program, kernel timers", SLEEPING.start),
        Arm(
            "scanning",
            "observer run --loader bcc: every program, cells scanned",
            SCANNING.start,
            _scanning_lacks(),
        ),
        Arm(
            "perf kvm stat",
            "perf kvm --host stat record -a: every entry and exit to a file",
            perf.stat_record,
            no_perf,
        ),
        Arm(
            "bpftrace",
            bpf_tools.COUNT_BY_REASON,
            bpf_tools.bpftrace,
            _program_lacks("bpftrace", "bpftrace"),
        ),
        Arm(
            "kvm_stat",
            "perf stat -a -e 'kvm:*': the counters that kvm_stat --tracepoints opens",
            perf.counters,
            no_perf,
        ),
        Arm(
            "kvmexit",
            "bcc's kvmexit",
            bpf_tools.kvmexit,
            kvmexit_lacks(cpuinfo.read_text()),
        ),
    ]
