# SPDX-License-Identifier: Apache-2.0
"""What designs cost, what implicit heartbeats save, and how cost grows, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.analysis import cost, growth
from observer.analysis.document import DASH, Section, Table, figure, p_value, spread
from observer.analysis.order import DESIGNS, MAIN, in_order
from observer.analysis.published import IMPLICIT_CPU_SAVED, IMPLICIT_SOONER
from observer.analysis.statistics import (
    NOTHING,
    Interval,
    permutation_p,
    ratio_interval,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cost_section", "heartbeat_section", "scale_section"]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share == share else DASH  # noqa: PLR0124 - NaN


def _share(interval: Interval) -> str:
    if interval.runs == 0:
        return DASH
    if interval.runs == 1 or interval.low == interval.high:
        return _percent(interval.middle)
    low, high = _percent(interval.low), _percent(interval.high)
    return f"{_percent(interval.middle)} [{low}, {high}]"


def _cpu_against(runs: pd.DataFrame, design: str, base: str) -> tuple[str, str]:
    """How much more CPU time than another, while idle."""
    idle = runs[runs["phase"] == "idle"].set_index("design")["cpu_ms_per_s"]
    theirs, mine = idle[idle.index == design], idle[idle.index == base]
    if design == base or mine.empty or theirs.empty:
        return DASH, DASH
    return (
        spread(ratio_interval(theirs, mine)),
        p_value(permutation_p(mine, theirs)),
    )


def _own(costs: pd.DataFrame) -> Table:
    runs = cost.per_run(costs)
    idle, load = cost.by_design(costs), cost.by_design(costs, phase="load")
    rows = []
    for design in in_order(runs["design"], DESIGNS):
        calm, busy = idle.get(design, {}), load.get(design, {})
        cells = [
            spread(phase.get(measure, NOTHING))
            for phase, measure in (
                (calm, "cpu_ms_per_s"),
                (busy, "cpu_ms_per_s"),
                (calm, "cpu_ms_per_s_a_vm"),
                (calm, "rss_mib"),
                (calm, "rss_mib_a_vm"),
                (calm, "wakeups_per_s"),
                (busy, "wakeups_per_s"),
            )
        ]
        vms = sorted(set(runs.loc[runs["design"] == design, "vms"]))
        against = _cpu_against(runs, design, MAIN)
        rows.append((design, ", ".join(map(str, vms)), *cells, *against))
    columns = (
        *("design", "VMs", "CPU idle, ms/s", "CPU load, ms/s", "CPU idle a VM"),
        *("RSS, MiB", "RSS a VM", "wake-ups/s idle", "wake-ups/s load"),
    )
    return Table(
        "The observer's own",
        (*columns, f"CPU idle, times {MAIN}", "p"),
        tuple(rows),
        (
            (
                "All that a design runs on the host: its program, its VMs (responder), "
                "and of BPF programs the run time, wherever they ran."
            ),
            (
                "What the kernel runs for BPF timers is timed by its trace, and that "
                "of programs by its statistics."
            ),
            (
                "What a design runs inside of a guest, or has a VMM do, is not here: "
                "it is in the CPU time of the observed, below."
            ),
        ),
    )


def _observed(costs: pd.DataFrame) -> Table:
    runs = cost.per_run(costs, observed=True)
    whole = cost.with_the_observed(costs)
    idle = cost.by_design(costs, observed=True)
    load = cost.by_design(costs, observed=True, phase="load")
    rows = tuple(
        (
            design,
            spread(idle.get(design, {}).get("cpu_ms_per_s", NOTHING)),
            spread(load.get(design, {}).get("cpu_ms_per_s", NOTHING)),
            spread(idle.get(design, {}).get("exits_per_s", NOTHING)),
            spread(load.get(design, {}).get("exits_per_s", NOTHING)),
            *_cpu_against(runs, design, "none"),
            spread(whole.get((design, "idle"), NOTHING)),
            spread(whole.get((design, "load"), NOTHING)),
        )
        for design in in_order(runs["design"], DESIGNS)
    )
    columns = (
        *("design", "CPU idle, ms/s", "CPU load, ms/s"),
        *("exits/s idle", "exits/s load", "CPU idle, times none", "p"),
        *("all told idle, ms/s", "all told load, ms/s"),
    )
    return Table(
        "VMMs and back ends that are observed",
        columns,
        rows,
        (
            "Exits are those of all VMs of the host, a design's own VMs among them.",
            (
                "All told: the observer's own CPU time and that of the observed, less "
                "the median of the latter where nobody watches.  Not told of "
                "watchdog-1s and watchdog-30s: their guests have another kernel, "
                "Debian's general one, for the one of all others lacks the device."
            ),
        ),
    )


def cost_section(costs: pd.DataFrame, title: str, plot: str = "") -> Section | None:
    """What it costs, and whom."""
    if costs.empty:
        return None
    lead = ("CPU time of all CPUs in a second, medians over runs with 95 % intervals.",)
    return Section(title, lead, (_own(costs), _observed(costs)), plot)


def _phoenix(what: str) -> str:
    """What it measured of the same kind: CPU time of its pVM, a crash of net_uk."""
    if what.startswith("CPU of the observed"):
        return _percent(IMPLICIT_CPU_SAVED)
    is_crash = what.startswith(("detection of service-crash", "detection of vmm-crash"))
    return _percent(IMPLICIT_SOONER) if is_crash else DASH


def heartbeat_section(cases: pd.DataFrame, costs: pd.DataFrame) -> Section | None:
    """Phoenix's own question, on our host."""
    found = cost.heartbeats(cases, costs)
    if not found:
        return None
    rows = tuple(
        (
            row["period"],
            row["what"],
            figure(row["implicit"]),
            figure(row["explicit"]),
            _share(row["less"]),
            p_value(row["p"]),
            _phoenix(row["what"]),
        )
        for row in found
    )
    columns = ("period", "what", "implicit", "explicit", "less by", "p", "Phoenix")
    return Section(
        "Implicit against explicit heartbeats",
        (
            "The same heartbeat with and without counting other signs of life.",
            (
                "Phoenix saved 13 % of its pVM's CPU time, fault-free, and saw a "
                "crash of net_uk 5.15 % sooner (section V-E, sphinx); below zero: it "
                "costs more, or is later."
            ),
        ),
        (
            Table(
                "Saved and gained",
                columns,
                rows,
                ("A run that missed counts with the time that was waited for it.",),
            ),
        ),
    )


def _thousandfold(slope: Interval) -> Interval:
    middle, low, high, runs = slope
    return Interval(1000 * middle, 1000 * low, 1000 * high, runs)


def scale_section(scale: pd.DataFrame) -> Section | None:
    """Cost against the number of VMs."""
    if scale.empty:
        return None
    sizes = tuple(
        (
            row["design"],
            f"{100 * row['late_share']:g} %",
            f"{row['vms']:,}",
            str(row["runs"]),
            *(spread(row[n]) for n in ("wakeups_per_s", "cpu_ms_per_s", "rss_mib")),
            spread(row["suspicions_per_s"]),
        )
        for row in growth.by_size(scale)
    )
    names = ("wake-ups/s", "CPU, ms/s", "RSS, MiB")
    slopes = tuple(
        (
            design,
            *(spread(_thousandfold(its[n])) for n in growth.GROWING),
        )
        for design, its in growth.slopes(scale).items()
    )
    per = tuple(f"{name} for 1,000 VMs more" for name in names)
    bends = growth.bends(scale)
    line = "; ".join(f"{design} {spread(its)}" for design, its in bends.items())
    return Section(
        "Scale",
        (
            (
                "Synthetic events of 4 vCPUs and 8 rings a VM through the real BPF "
                "programs and the real daemon.  CPU time is the daemon's alone: what "
                "the programs take for an event does not depend on the number of VMs."
            ),
        ),
        (
            Table(
                "What more quiet VMs cost",
                ("design", *per),
                slopes,
                (
                    (
                        "Least squares over the sizes of each run where nobody is "
                        "late; the median of the runs' slopes with its 95 % interval. "
                        "One that holds 0 is no growth that could be measured."
                    ),
                    f"Memory is off the straight line by so many MiB at most: {line}.",
                ),
            ),
            Table(
                "By number of VMs and share that is late",
                ("design", "late", "VMs", "runs", *names, "suspicions/s"),
                sizes,
            ),
        ),
        "scale",
    )
