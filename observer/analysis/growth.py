# SPDX-License-Identifier: Apache-2.0
"""How the cost of ours grows with the number of VMs, and with how many are late.

Pure: from the rows of scale to frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis.order import DESIGNS, in_order
from observer.analysis.statistics import Interval, median_interval, slope

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GROWING", "bends", "by_size", "halves", "per_run", "slopes"]

GROWING = ("wakeups_per_s", "cpu_ms_per_s", "rss_mib")
"""What may grow."""


def per_run(scale: pd.DataFrame) -> pd.DataFrame:
    """The median of a run's turns, by design, number of VMs and share that is late."""
    measured = scale.assign(
        wakeups_per_s=scale["wakeups"] / scale["seconds"],
        cpu_ms_per_s=scale["cpu_ms"] / scale["seconds"],
        suspicions_per_s=scale["suspicions"] / scale["seconds"],
    )
    keys = ["design", "run_id", "vms", "late_share"]
    names = [*GROWING, "suspicions_per_s"]
    return measured.groupby(keys, sort=True)[names].median().reset_index()


def by_size(scale: pd.DataFrame) -> list[dict[str, Any]]:
    """Medians over runs, with their intervals."""
    runs = per_run(scale)
    found = []
    for design in in_order(runs["design"], DESIGNS):
        mine = runs[runs["design"] == design]
        for (late_share, vms), its in mine.groupby(["late_share", "vms"]):
            head = {"design": design, "late_share": late_share, "vms": int(vms)}
            names = (*GROWING, "suspicions_per_s")
            figures = {name: median_interval(its[name]) for name in names}
            found.append({**head, "runs": len(its), **figures})
    return found


def slopes(scale: pd.DataFrame) -> dict[str, dict[str, Interval]]:
    """What one more VM costs while all are quiet: the median of the runs' slopes."""
    runs = per_run(scale)
    quiet = runs[runs["late_share"] == 0]
    return {
        design: {
            name: median_interval(
                slope(its["vms"], its[name])
                for _, its in quiet[quiet["design"] == design].groupby("run_id")
            )
            for name in GROWING
        }
        for design in in_order(quiet["design"], DESIGNS)
    }


def _bend(its: pd.DataFrame, name: str) -> float:
    """How far the furthest size is from the straight line through all."""
    steep = slope(its["vms"], its[name])
    level = its[name].mean() - steep * its["vms"].mean()
    return float((its[name] - level - steep * its["vms"]).abs().max())


def halves(
    scale: pd.DataFrame, name: str = "rss_mib"
) -> dict[str, tuple[Interval, Interval]]:
    """What one more quiet VM costs up to the middle size, and from there on."""
    runs = per_run(scale)
    quiet = runs[runs["late_share"] == 0]
    found = {}
    for design in in_order(quiet["design"], DESIGNS):
        mine = quiet[quiet["design"] == design]
        sizes = sorted(set(mine["vms"]))
        middle = sizes[len(sizes) // 2]
        parts = mine[mine["vms"] <= middle], mine[mine["vms"] >= middle]
        first, last = (
            median_interval(
                slope(its["vms"], its[name]) for _, its in part.groupby("run_id")
            )
            for part in parts
        )
        found[design] = first, last
    return found


def bends(scale: pd.DataFrame, name: str = "rss_mib") -> dict[str, Interval]:
    """Of each design how far memory is from growing by so much a VM, at most."""
    runs = per_run(scale)
    quiet = runs[runs["late_share"] == 0]
    return {
        design: median_interval(
            _bend(its, name)
            for _, its in quiet[quiet["design"] == design].groupby("run_id")
        )
        for design in in_order(quiet["design"], DESIGNS)
    }
