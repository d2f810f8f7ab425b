# SPDX-License-Identifier: Apache-2.0
"""What the bench found, `build/bench/report.json`, and what it must have found."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import msgspec

from observer.bench.boot import LINUX, Boot
from observer.bench.compare import Row, Sample, rows_of
from observer.bench.programs import Program
from observer.bench.quiet import DaemonCost
from observer.demo.report import HostFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from observer.bench.tool import Arm

__all__ = [
    "PAID_FOR",
    "BenchReport",
    "Check",
    "Size",
    "Weighed",
    "checks_of",
    "is_emulated",
    "report_of",
    "versions",
    "write",
]

PAID_FOR = (
    "Beyond bare counting, each exit pays for a clock read, the vCPU's cell (its CPU "
    "time, run-queue count, exit reason and count) and a lazy kernel timer, which is "
    "what a verdict on a hung vCPU rests on."
)
RSS_MIB = 45.0
ARMED_NATIVE_S, ARMED_EMULATED_S = 0.3, 3.0
WAKEUPS_PER_S = 10.0
BOOT_RATIO = 20.0
IMAGE_BYTES, SERVICE_MIB = 64 << 10, 16
VERSION_SECONDS = 30.0


class Check(msgspec.Struct, frozen=True):
    """One thing that must hold."""

    name: str
    figure: float | None
    bar: float | None
    unit: str
    passed: bool


class Size(msgspec.Struct, frozen=True):
    """How much is measured."""

    exits: int
    rounds: int


class Weighed(msgspec.Struct, frozen=True):
    """What is measured once, before the comparison."""

    host: HostFacts
    tools: dict[str, str]
    size: Size
    daemon: DaemonCost
    programs: list[Program]
    boots: list[Boot]


class BenchReport(msgspec.Struct, frozen=True):
    """All of a run, raw samples included."""

    host: HostFacts
    tools: dict[str, str]
    exits_per_run: int
    rounds: int
    passed: bool
    seconds: float
    paid_for: str
    checks: list[Check]
    rows: list[Row]
    daemon: DaemonCost
    programs: list[Program]
    boots: list[Boot]
    samples: list[Sample]


def _below(name: str, figure: float | None, bar: float | None, unit: str) -> Check:
    passed = figure is not None and bar is not None and figure < bar
    return Check(name, figure, bar, unit, passed)


def _at_most(name: str, figure: float, bar: float, unit: str) -> Check:
    return Check(name, figure, bar, unit, figure <= bar)


def boot_checks_of(boots: list[Boot]) -> Iterator[Check]:
    """Of each service VM: how small it is, and how much sooner there than Linux."""
    linux = next(boot.median_ms for boot in boots if boot.guest == LINUX)
    for boot in boots:
        if boot.guest == LINUX:
            continue
        name, sooner = boot.guest, linux / boot.median_ms
        yield Check(
            f"{name} is up sooner than Linux",
            round(sooner, 1),
            BOOT_RATIO,
            "x",
            sooner >= BOOT_RATIO,
        )
        yield _at_most(f"{name}'s image", boot.image_bytes, IMAGE_BYTES, "bytes")
        yield _at_most(f"{name}'s memory", boot.memory_mib, SERVICE_MIB, "MiB")


def checks_of(
    rows: list[Row], daemon: DaemonCost, boots: list[Boot], *, emulated: bool
) -> list[Check]:
    """Hold the figures against what was promised."""
    added = {row.arm: row.added_ns_per_exit for row in rows}
    ours = added["sleeping"]
    counted = {row.arm: row.counted_all for row in rows if row.left_out is None}
    missed = [arm for arm, all_seen in counted.items() if all_seen is False]
    armed = ARMED_EMULATED_S if emulated else ARMED_NATIVE_S
    return [
        *(
            _below(f"sleeping adds less than {other}", ours, added[other], "ns/exit")
            for other in ("perf kvm stat", "bpftrace")
        ),
        _at_most("resident memory", daemon.rss_mib, RSS_MIB, "MiB"),
        _at_most("armed", daemon.armed_s, armed, "s"),
        _at_most("wake-ups", daemon.wakeups_per_s, WAKEUPS_PER_S, "/s"),
        _at_most("arms that missed exits", len(missed), 0, ""),
        *boot_checks_of(boots),
    ]


def is_emulated(host: HostFacts) -> bool:
    """Say whether the CPU is emulated, so that only ratios tell something."""
    return "emulated" in host.accelerator


def report_of(
    weighed: Weighed, arms: Sequence[Arm], samples: Sequence[Sample], seconds: float
) -> BenchReport:
    """Make the report of what is known so far."""
    rows = rows_of(arms, samples)
    emulated = is_emulated(weighed.host)
    checks = checks_of(rows, weighed.daemon, weighed.boots, emulated=emulated)
    return BenchReport(
        host=weighed.host,
        tools=weighed.tools,
        exits_per_run=weighed.size.exits,
        rounds=weighed.size.rounds,
        passed=all(check.passed for check in checks),
        seconds=round(seconds, 1),
        paid_for=PAID_FOR,
        checks=checks,
        rows=rows,
        daemon=weighed.daemon,
        programs=weighed.programs,
        boots=weighed.boots,
        samples=list(samples),
    )


def _version(*argv: str) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=VERSION_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return "missing"
    return (done.stdout or done.stderr).strip().partition("\n")[0] or "unknown"


def versions() -> dict[str, str]:
    """The tools that we are compared with."""
    return {tool: _version(tool, "--version") for tool in ("perf", "bpftrace")}


def write(report: BenchReport, path: Path) -> None:
    """Write it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    part.replace(path)
