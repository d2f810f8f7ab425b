# SPDX-License-Identifier: Apache-2.0
"""What is claimed of ours, held against the data: it holds, or not, or nobody knows.

Each check is a pure function of frames, and tells the figures that it went by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.analysis import cost, detection, growth
from observer.analysis.document import figure
from observer.analysis.order import MAIN, OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from observer.analysis.runs import Runs

__all__ = ["Check", "all_checks"]

POLLING, RESPONDER = "polling-100ms", "vm-per-vm"
FROM_VMS = 2
SURE = 0.05
UNKNOWN = "not measured"
MS_AN_HOUR = 3_600_000
KIB = 1024
FELT_WAKEUPS_PER_S = 1.0
"""More a second than this at the largest size would be growth that one can measure."""


class Check(msgspec.Struct, frozen=True):
    """A claim, whether it holds (None: nobody measured it), and by which figures."""

    claim: str
    holds: bool | None
    figures: str


def _listed(parts: Sequence[str], nothing: str) -> str:
    return "; ".join(parts) if parts else nothing


def nothing_missed(cases: pd.DataFrame, ours: str, where: str) -> Check:
    """Each fault that it faced, it saw in each run."""
    mine = detection.per_run(cases[cases["design"] == ours])
    missed = mine[~mine["seen"].astype(bool)]["case"].value_counts()
    faced = mine["case"].value_counts()
    parts = [
        f"{case} missed in {n} of {faced[case]} runs" for case, n in missed.items()
    ]
    return Check(
        f"{ours}: no fault is missed ({where})",
        None if mine.empty else not parts,
        _listed(
            parts,
            UNKNOWN
            if mine.empty
            else f"all {len(mine)} seen, in {mine['run_id'].nunique()} runs",
        ),
    )


def no_false_verdict(cases: pd.DataFrame, ours: str, where: str) -> Check:
    """Neither where nothing was broken, nor beside a fault."""
    mine = cases[cases["design"] == ours]
    wrong = mine[mine["wrong_verdicts"] > 0]
    silent = detection.silent_of(mine)
    hours = silent["waited_ms"].sum() / MS_AN_HOUR
    none = (
        f"0 in {len(silent)} silent cases ({figure(hours)} hours) and beside "
        f"{len(mine) - len(silent)} faults, in {mine['run_id'].nunique()} runs"
    )
    parts = [
        f"{int(its['wrong_verdicts'].sum())} in {case}"
        for case, its in wrong.groupby("case")
    ]
    return Check(
        f"{ours}: no false verdict ({where})",
        None if mine.empty else not parts,
        _listed(parts, UNKNOWN if mine.empty else none),
    )


def sooner_than_all(cases: pd.DataFrame, ours: str, where: str) -> Check:
    """By the medians, on each fault that another design saw in any run."""
    pairs = detection.against(cases, ours)
    pairs = pairs[~pairs["design"].isin(OURS)]
    later = pairs[~(pairs["ours_ms"] < pairs["theirs_ms"])]
    parts = [
        f"{row.case}: {row.design} {figure(row.theirs_ms)} ms, "
        f"ours {figure(row.ours_ms)} ms (p {row.p:.3f})"
        for row in later.itertuples()
    ]
    unsure = int((pairs["p"] > SURE).sum())
    least = figure(pairs["ratio"].min())
    so = f"in all {len(pairs)} comparisons, by a factor of {least} at least"
    return Check(
        f"{ours}: sooner than every other design on every fault that it can see "
        f"({where})",
        None if pairs.empty else not parts,
        _listed(parts, so if len(pairs) else UNKNOWN)
        + (f"; {unsure} with p above {SURE}, uncorrected" if unsure else ""),
    )


def _compared(
    costs: pd.DataFrame, ours: str, theirs: str, measure: str, unit: str
) -> tuple[bool | None, str]:
    """Whether ours is less in each phase, by the medians over runs."""
    runs = cost.per_run(costs)
    parts, less = [], []
    for phase in dict.fromkeys(runs["phase"]):
        here = runs[runs["phase"] == phase].groupby("design")[measure].median()
        if ours in here and theirs in here:
            less.append(bool(here[ours] < here[theirs]))
            said = f"{figure(here[ours])} against {figure(here[theirs])} {unit}"
            parts.append(f"{phase} {said}")
    counts = runs.groupby("design")["run_id"].nunique()
    said = f"{counts.get(ours, 0)} and {counts.get(theirs, 0)} runs"
    return (all(less) if less else None), _listed(
        [*parts, said] if parts else parts, UNKNOWN
    )


def less_cpu_than_polling(costs: pd.DataFrame, ours: str) -> Check:
    """All that it costs on the host, BPF run time included."""
    holds, figures = _compared(costs, ours, POLLING, "cpu_ms_per_s", "ms/s")
    return Check(f"{ours}: less CPU time than {POLLING}", holds, figures)


def less_than_responder(costs: pd.DataFrame, ours: str) -> list[Check]:
    """From two VMs on: runs with fewer are left out."""
    many = costs[costs["host_vms"] >= FROM_VMS]
    found = []
    for what, measure, unit in (
        ("CPU time", "cpu_ms_per_s", "ms/s"),
        ("memory", "rss_mib", "MiB"),
    ):
        holds, figures = _compared(many, ours, RESPONDER, measure, unit)
        vms = sorted(set(many["host_vms"]))
        at = f" at {', '.join(map(str, vms))} VMs" if vms and holds is not None else ""
        claim = f"{ours}: less {what} than {RESPONDER} from {FROM_VMS} VMs on"
        found.append(Check(claim, holds, figures + at))
    # One of ours that took no part in an experiment is no news.
    return [c for c in found if c.holds is not None or c.claim.startswith(MAIN)]


def unharmed(cases: pd.DataFrame, ours: str) -> Check:
    """When it crashes or stands still itself."""
    mine = detection.observer_faults(cases[cases["design"] == ours])
    parts = [f"{r.case} {r.unharmed} of {r.runs}" for r in mine.itertuples()]
    return Check(
        f"{ours}: its own crash and stop harm nobody",
        None if mine.empty else bool((mine["unharmed"] == mine["runs"]).all()),
        _listed(parts, UNKNOWN),
    )


def no_more_wakeups(scale: pd.DataFrame, ours: str) -> Check:
    """While all are quiet: what the steepest run could add is too little to matter."""
    claim = f"{ours}: no more wake-ups for more quiet VMs"
    found = growth.slopes(scale[scale["design"] == ours])
    if ours not in found:
        return Check(claim, None, UNKNOWN)
    wakeups = found[ours]["wakeups_per_s"]
    sizes = scale.loc[scale["design"] == ours, "vms"]
    felt = wakeups.high * (sizes.max() - sizes.min())
    holds = felt < FELT_WAKEUPS_PER_S
    per_thousand = [figure(x * 1000) for x in wakeups[:3]]
    return Check(
        claim,
        bool(holds),
        f"from {sizes.min()} to {sizes.max()} VMs {per_thousand[0]} a second for "
        f"each 1,000 VMs [{per_thousand[1]}, {per_thousand[2]}]",
    )


def memory_grows_straight(scale: pd.DataFrame, ours: str) -> Check:
    """While all are quiet: the last VMs take no more each than the first did."""
    claim = f"{ours}: memory grows no faster than the number of quiet VMs"
    mine = scale[scale["design"] == ours]
    found, halves = growth.slopes(mine), growth.halves(mine)
    if ours not in found or not halves[ours][0].runs:
        return Check(claim, None, UNKNOWN)
    first, last = halves[ours]
    bend = growth.bends(mine)[ours]
    kib = [KIB * x for x in (found[ours]["rss_mib"].middle, first.middle, last.middle)]
    return Check(
        claim,
        bool(last.middle <= first.middle),
        f"{figure(kib[0])} KiB a VM; {figure(kib[1])} up to the middle size, "
        f"{figure(kib[2])} from there on; {figure(bend.middle)} MiB off the straight "
        f"line at most; {bend.runs} runs",
    )


def all_checks(runs: Runs) -> list[Check]:
    """All that the study has to show, of each of our designs."""
    found: list[Check] = []
    for ours in OURS:
        for where in ("detection", "services"):
            cases = runs.of("cases", where)
            found += [
                nothing_missed(cases, ours, where),
                no_false_verdict(cases, ours, where),
                sooner_than_all(cases, ours, where),
            ]
        costs = runs.of("cost", "detection")
        found += [
            no_false_verdict(runs.of("cases", "tradeoff"), ours, "tradeoff"),
            less_cpu_than_polling(costs, ours),
            *less_than_responder(costs, ours),
            unharmed(runs.of("cases", "detection"), ours),
            no_more_wakeups(runs.of("scale", "scale"), ours),
            memory_grows_straight(runs.of("scale", "scale"), ours),
        ]
    # One of ours that took no part in an experiment is no news.
    return [c for c in found if c.holds is not None or c.claim.startswith(MAIN)]
