# SPDX-License-Identifier: Apache-2.0
"""What a design costs, and what it costs those whom it observes.

Pure: from the rows of cost to frames with one row for each run, design and phase.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis.detection import per_run as seen_per_run
from observer.analysis.order import CASES, DESIGNS, in_order
from observer.analysis.statistics import (
    Interval,
    median_interval,
    permutation_p,
    ratio_interval,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MEASURES",
    "OBSERVED",
    "Saved",
    "by_design",
    "heartbeats",
    "per_run",
    "with_the_observed",
]

OBSERVED = ("vmm", "back-end", "host")
"""Roles of those who are observed; what any other role costs is the design's."""
NOBODY = "none"
"""The design in which nobody watches."""
OTHER_KERNEL = ("watchdog-1s", "watchdog-30s")
"""Whose guests have Debian's general kernel: the one for guests lacks their device."""
MEASURES = (
    *("cpu_ms_per_s", "rss_mib", "wakeups_per_s", "exits_per_s"),
    *("cpu_ms_per_s_a_vm", "rss_mib_a_vm"),
)
PAIRS = (
    ("phoenix-5ms", "phoenix-explicit-5ms"),
    ("phoenix-15ms", "phoenix-explicit-15ms"),
)
"""The same heartbeat with and without implicit ones."""

Saved = dict[str, Any]


def per_run(cost: pd.DataFrame, *, observed: bool = False) -> pd.DataFrame:
    """One row for each run, design and phase: the observer's, or the observed's.

    Of all processes together.  What nobody counted is not known, but a design that
    runs nothing on the host costs nothing.
    """
    keys = ["design", "run_id", "phase"]
    runs = cost.groupby(keys, sort=False)["host_vms"].first()
    mine = cost[cost["role"].isin(OBSERVED) == observed]
    measured = mine[keys].assign(
        cpu_ms_per_s=mine["cpu_ms"].astype(float) / mine["seconds"],
        rss_mib=mine["rss_mib"].astype(float),
        wakeups_per_s=mine["wakeups"].astype(float) / mine["seconds"],
        exits_per_s=mine["exits"].astype(float) / mine["seconds"],
    )
    sums = measured.groupby(keys, sort=False).sum(min_count=1)
    nothing = float("nan") if observed else 0.0
    nobody = runs.index.difference(sums.index, sort=False)
    sums = sums.reindex(runs.index)
    sums.loc[nobody] = nothing
    vms = runs.astype(float).clip(lower=1)
    a_vm = {f"{name}_a_vm": sums[name] / vms for name in ("cpu_ms_per_s", "rss_mib")}
    return sums.assign(vms=runs, **a_vm).reset_index()


def by_design(
    cost: pd.DataFrame, *, observed: bool = False, phase: str = "idle"
) -> dict[str, dict[str, Interval]]:
    """Of each design the median over runs of each measure, with its interval."""
    runs = per_run(cost, observed=observed)
    runs = runs[runs["phase"] == phase]
    return {
        design: {
            measure: median_interval(runs.loc[runs["design"] == design, measure])
            for measure in MEASURES
        }
        for design in in_order(runs["design"], DESIGNS)
    }


def with_the_observed(cost: pd.DataFrame) -> dict[tuple[str, str], Interval]:
    """By design and phase: CPU ms/s of it and of the observed, over that of nobody.

    What is observed takes as much more as a design makes it; what it takes anyway is
    the median of the runs in which nobody watches.  Nothing where there are none, nor
    of designs whose guests have another kernel than theirs.
    """
    keys = ["design", "phase", "run_id"]
    own = per_run(cost).set_index(keys)["cpu_ms_per_s"]
    theirs = per_run(cost, observed=True).set_index(keys)["cpu_ms_per_s"]
    anyway = theirs[theirs.index.get_level_values("design") == NOBODY]
    found = {}
    for (design, phase), its in (own + theirs).groupby(keys[:2], sort=False):
        if design in OTHER_KERNEL:
            continue
        less = anyway[anyway.index.get_level_values("phase") == phase].median()
        found[design, phase] = median_interval(its - less)
    return found


def _less(ours: pd.Series, theirs: pd.Series) -> tuple[Interval, float]:
    """By which share ours is less than theirs, and how sure that is."""
    ratio = ratio_interval(ours, theirs)
    share = Interval(1 - ratio.middle, 1 - ratio.high, 1 - ratio.low, ratio.runs)
    return share, permutation_p(ours, theirs)


def heartbeats(cases: pd.DataFrame, cost: pd.DataFrame) -> list[Saved]:
    """What implicit beats save and gain against explicit ones of the same period.

    Each with `period`, `what`, `implicit`, `explicit` (medians), `less` (a share with
    its interval) and `p`.
    """
    found: list[Saved] = []

    def compare(period: str, what: str, pair: tuple[Any, Any]) -> None:
        if len(pair[0].dropna()) and len(pair[1].dropna()):
            less, p = _less(*pair)
            medians = {"implicit": pair[0].median(), "explicit": pair[1].median()}
            row = {"period": period, "what": what, "less": less, "p": p}
            found.append({**row, **medians})

    detection = seen_per_run(cases)
    for implicit, explicit in PAIRS:
        period = implicit.removeprefix("phoenix-").replace("ms", " ms")
        for observed, whose in ((False, "observer"), (True, "observed")):
            runs = per_run(cost, observed=observed)
            for phase in in_order(runs["phase"], ("idle", "load")):
                here = runs[runs["phase"] == phase].set_index("design")["cpu_ms_per_s"]
                compare(
                    period,
                    f"CPU of the {whose}, {phase} (ms/s)",
                    (_of(here, implicit), _of(here, explicit)),
                )
        for case in in_order(detection["case"], CASES):
            mine = detection[detection["case"] == case].set_index("design")
            times = mine["bound_ms"]
            compare(
                period,
                f"detection of {case} (ms)",
                (_of(times, implicit), _of(times, explicit)),
            )
    return found


def _of(column: pd.Series, design: str) -> pd.Series:
    return column[column.index == design]
