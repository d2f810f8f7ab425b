# SPDX-License-Identifier: Apache-2.0
"""Run folders of a study that was never run: seeded, as a host would leave them.

python tests/analysis/synthetic_runs.py FOLDER writes one to look at.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from observer.analysis.run_facts import RUN_FILE, RunFacts
from observer.analysis.tables import write_table
from observer.clock import MS, SECOND
from observer.demo.report import HostFacts
from observer.replay.event import EVENT, Debt, What
from observer.replay.recording import Facts, RecordingWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOST = HostFacts(
    kernel="6.12.43+deb13-amd64",
    cpu="QEMU TCG CPU version 2.5+",
    cpus=4,
    accelerator="KVM on an emulated CPU",
    nested=True,
    observer="0.2.0",
    python="3.11.2",
    qemu="QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)",
    seed=7,
)
FAULTS = (
    *("vmm-crash", "vmm-stop", "backend-crash", "backend-hang", "guest-panic"),
    *("guest-irqoff-spin", "vcpu-lockup"),
)
SILENT = ("idle", "busy", "paused", "host-overload")
SERVICE_FAULTS = ("nic-hang", "netback-hang", "service-crash", "vmm-crash")
WAITED_MS = 40_000.0
EFFECT_NS = 10**12


class Kind(NamedTuple):
    """How a synthetic design behaves."""

    base_ms: float
    sees: Sequence[str] = FAULTS
    cpu_ms_per_s: float = 1.0
    rss_mib: float = 30.0
    wakeups_per_s: float = 1.0
    role: str = "observer"
    misses: float = 0.0
    """Of its faults, how many it does not see."""
    wrong: Sequence[str] = ()


HOSTS_VIEW = ("vmm-crash", "vmm-stop", "backend-crash")
GUESTS = ("guest-panic", "guest-irqoff-spin", "vcpu-lockup")
DETECTION = {
    "none": Kind(1, ()),
    "in-guest": Kind(20_000, ("vcpu-lockup",), 0, 0, 0, "guest-agent"),
    "orbit": Kind(10_000, ("vcpu-lockup",), 0.8, 22, 2, "guest-agent"),
    "vm-per-vm": Kind(180, ("backend-hang", *GUESTS), 14, 64, 110, "responder"),
    "polling-10s": Kind(25_000, HOSTS_VIEW, 0.5, 42, 0.3),
    "polling-1s": Kind(2_500, HOSTS_VIEW, 4, 42, 3),
    "polling-100ms": Kind(260, HOSTS_VIEW, 38, 42, 30, wrong=("host-overload",)),
    "watchdog-30s": Kind(32_000, GUESTS[:2], 0.2, 38, 0.1, misses=0.4),
    "watchdog-1s": Kind(1_900, GUESTS[:2], 0.2, 38, 0.1, wrong=("host-overload",)),
    "pvpanic": Kind(9, ("guest-panic",), 0.1, 38, 0.1),
    "guest-agent": Kind(3_000, ("vmm-stop", *GUESTS), 3, 40, 2, wrong=("paused",)),
    "goshd": Kind(4_100, GUESTS, 2.4, 70, 1),
    "sleeping": Kind(28, cpu_ms_per_s=1.1, rss_mib=44, wakeups_per_s=0.6),
    "scanning": Kind(34, cpu_ms_per_s=29, rss_mib=131, wakeups_per_s=210),
}
SERVICES = {
    "phoenix-5ms": Kind(36, SERVICE_FAULTS, 9, 30, 150),
    "phoenix-15ms": Kind(55, SERVICE_FAULTS, 5, 30, 60),
    "phoenix-explicit-5ms": Kind(39, SERVICE_FAULTS, 11, 30, 205),
    "phoenix-explicit-15ms": Kind(60, SERVICE_FAULTS, 6, 30, 70),
    "tfd-xen": Kind(102, SERVICE_FAULTS, 8, 28, 25),
    "xoar": Kind(2600, SERVICE_FAULTS, 1, 28, 1),
    "sleeping": Kind(22, SERVICE_FAULTS, 1.1, 44, 0.6),
}


class Writer(NamedTuple):
    """Writes the tables of one run."""

    folder: Path
    experiment: str
    chance: np.random.Generator

    def write(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        write_table(
            self.folder / f"{table}.parquet", table, rows, experiment=self.experiment
        )

    def about(self, figure: float, share: float = 0.08) -> float:
        return float(figure * self.chance.lognormal(0, share))


def started(root: Path, experiment: str, run: int, design: str, vms: int) -> Writer:
    """A folder with its run.json."""
    folder = root / experiment / f"{run:02d}-{design}"
    folder.mkdir(parents=True)
    # A design's noise is its own, so that taking one away leaves the others.
    seed = [run, *design.encode(), *experiment.encode()]
    facts = RunFacts(
        experiment=experiment,
        run=run,
        design=design,
        does=f"as {design} does",
        workload="latency" if experiment == "detection" else "",
        seed=100 + run,
        started=f"2026-11-27T0{run}:00:00Z",
        seconds=180.0,
        commit="0123456789abcdef0123456789abcdef01234567",
        host=HOST,
        vms=vms,
    )
    (folder / RUN_FILE).write_bytes(msgspec.json.encode(facts))
    return Writer(folder, experiment, np.random.default_rng(seed))


def fault_row(out: Writer, case: str, kind: Kind) -> dict[str, Any]:
    seen = case in kind.sees and out.chance.random() >= kind.misses
    took = out.about(kind.base_ms * (1 + 0.3 * FAULTS.index(case) % 1.5))
    if case not in FAULTS:
        took = out.about(kind.base_ms)
    return {
        "case": case,
        "silent": False,
        "vm": "web1",
        "effect_ns": EFFECT_NS,
        "verdict_ns": EFFECT_NS + int(took * MS) if seen else None,
        "detection_ms": took if seen else None,
        "detected": seen,
        "kind": "guest-hung" if seen else None,
        "subject": "web1" if seen else None,
        "evidence": "as it was seen" if seen else "",
        "wrong_verdicts": 0,
        "waited_ms": took if seen else WAITED_MS,
        "unharmed": None,
    }


def case_rows(out: Writer, kind: Kind, faults: Sequence[str]) -> list[dict[str, Any]]:
    rows = [
        {**fault_row(out, f, kind), "case": f}
        if f in FAULTS
        else {**fault_row(out, FAULTS[0], kind._replace(sees=FAULTS)), "case": f}
        for f in faults
    ]
    quiet = {**fault_row(out, FAULTS[0], kind._replace(sees=())), "silent": True}
    rows += [
        {
            **quiet,
            "case": case,
            "waited_ms": 5000.0,
            "wrong_verdicts": int(case in kind.wrong),
        }
        for case in SILENT
    ]
    rows += [
        {**quiet, "case": case, "silent": False, "unharmed": True, "waited_ms": 3000.0}
        for case in ("observer-crash", "observer-stop")
    ]
    return rows


def cost_rows(out: Writer, kind: Kind, vms: int) -> Iterator[dict[str, Any]]:
    for phase, factor in (("idle", 1.0), ("load", 1.6)):
        head: dict[str, Any] = {"vm": "", "phase": phase, "seconds": 10.0}
        for vm in range(vms):
            of_vm = {**head, "vm": f"web{vm + 1}", "preempted": 3}
            if kind.role == "responder":
                yield {
                    **of_vm,
                    "role": "responder",
                    "cpu_ms": out.about(kind.cpu_ms_per_s * 10 * factor),
                    "rss_mib": out.about(kind.rss_mib, 0.01),
                    "wakeups": int(out.about(kind.wakeups_per_s * 10)),
                }
            yield {
                **of_vm,
                "role": "vmm",
                "cpu_ms": out.about((60 + 0.3 * kind.wakeups_per_s) * 10 * factor),
                "rss_mib": out.about(190, 0.01),
                "wakeups": int(out.about(900 * factor)),
            }
        if kind.role == "observer" and kind.sees:
            yield {
                **head,
                "role": "observer",
                "cpu_ms": out.about(kind.cpu_ms_per_s * 10 * factor),
                "rss_mib": out.about(kind.rss_mib, 0.01),
                "wakeups": int(out.about(kind.wakeups_per_s * 10)),
                "preempted": 1,
            }
        exits = int(out.about(9000 * factor))
        yield {**head, "role": "host", "exits": exits}


def verdict_rows(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "monotonic_ns": case["verdict_ns"],
            "since_ns": case["effect_ns"],
            "vm": case["vm"],
            "subject": case["subject"],
            "kind": case["kind"],
            "evidence": case["evidence"],
        }
        for case in cases
        if case["detected"]
    ]


def request_rows(out: Writer, kind: Kind) -> list[dict[str, Any]]:
    rows = []
    for phase, lost, began_ns in (
        ("calm", 0, EFFECT_NS - 20 * SECOND),
        ("backend-hang", 0.01, EFFECT_NS),
    ):
        times = out.chance.lognormal(np.log(1.7 + 0.01 * kind.wakeups_per_s), 0.5, 300)
        gone = out.chance.random(300) < lost
        rows += [
            {
                "phase": phase,
                "intended_ns": began_ns + i * 10 * MS,
                "latency_ns": None if gone[i] else int(times[i] * MS),
            }
            for i in range(300)
        ]
    return rows


def write_detection(root: Path, run: int, design: str, vms: int = 3) -> None:
    out, kind = started(root, "detection", run, design, vms), DETECTION[design]
    out.write("cases", cases := case_rows(out, kind, FAULTS))
    out.write("verdicts", verdict_rows(cases))
    out.write("cost", list(cost_rows(out, kind, vms)))
    out.write("requests", request_rows(out, kind))


def write_services(root: Path, run: int, design: str) -> None:
    out, kind = started(root, "services", run, design, 1), SERVICES[design]
    out.write("cases", cases := case_rows(out, kind, SERVICE_FAULTS))
    out.write("verdicts", verdict_rows(cases))
    out.write("cost", list(cost_rows(out, kind, 1)))


def write_overhead(root: Path, run: int, design: str) -> None:
    out = started(root, "overhead", run, design, 1)
    less = {"none": 0.0, "sleeping": 0.012, "scanning": 0.05}[design]
    rows = [
        {
            "workload": workload,
            "turn": turn,
            "unit": unit,
            "throughput": out.about(per_s * (1 - less), 0.02) if per_s else None,
            "p99_ms": out.about(9.0 * (1 + less), 0.04) if per_s else None,
            "observer_cpu_ms": 1.1 * 20,
            "wrong_verdicts": 0,
            "guest_exits": int(out.about(180_000, 0.02)),
            "seconds": 20.0,
        }
        for workload, unit, per_s in (
            ("nginx", "requests/s", 410),
            ("redis", "operations/s", 5200),
            ("fio", "IOPS", 900),
            ("forks", "forks/s", 130),
            ("idle", "", 0),
        )
        for turn in range(2)
    ]
    out.write("workload", rows)


def write_scale(root: Path, run: int, design: str) -> None:
    out = started(root, "scale", run, design, 1000)
    rows = [
        {
            "vms": vms,
            "late_share": late,
            "turn": 0,
            "seconds": 10.0,
            "wakeups": int(out.about(4, 0.2) + 10 * vms * late),
            "cpu_ms": out.about(9 + 12 * vms * late),
            "rss_mib": out.about(44 + 0.011 * vms, 0.005),
            "suspicions": int(10 * vms * late),
        }
        for vms in (10, 30, 100, 300, 1000)
        for late in (0.0, 0.01, 0.1)
    ]
    out.write("scale", rows)


def write_recording(path: Path, seed: int) -> None:
    """An hour of one ring, served late by a millisecond as a rule."""
    chance, count = np.random.default_rng(seed), 2000
    events = np.zeros(2 * count, EVENT)
    events["debt"], events["slot"] = Debt.BACKEND, 7
    events["what"] = [What.OPENED, What.PAID] * count
    late = (chance.lognormal(0, 1, count) * MS).astype("u8")
    begins = np.arange(1, count + 1, dtype="u8") * (3600 * SECOND // count)
    events["ns"][::2], events["ns"][1::2] = begins, begins + late
    events["clock_ns"] = events["ns"]
    limits = {"backend": 20 * MS}
    with RecordingWriter(path) as writer:
        writer.append(events)
        writer.describe(Facts(kernel="6.12", seconds=3600.0, limits_ns=limits))


def write_tradeoff(root: Path, run: int, design: str) -> None:
    """Nothing is broken, and all debts are recorded."""
    out, kind = started(root, "tradeoff", run, design, 2), DETECTION[design]
    out.write("cases", case_rows(out, kind, ()))
    out.write("verdicts", [])
    out.write("cost", list(cost_rows(out, kind, 2)))
    out.write("requests", request_rows(out, kind))
    write_recording(out.folder / "recording.parquet", run)


def write_study(root: Path, runs: int, designs: Sequence[str] = ()) -> None:
    """All experiments; of detection only these designs, if any are named."""
    for run in range(1, runs + 1):
        for design in designs or DETECTION:
            write_detection(root, run, design)
        for design in SERVICES:
            write_services(root, run, design)
        for design in ("none", "sleeping", "scanning"):
            write_overhead(root, run, design)
        write_scale(root, run, "sleeping")
        write_tradeoff(root, run, "sleeping")


if __name__ == "__main__":
    write_study(Path(sys.argv[1]), 5)
