# SPDX-License-Identifier: Apache-2.0
"""Who saw what, and how soon; whose verdicts were false; who harmed nobody.

Pure: from the rows of cases to frames.  The unit is the run: what a run tells more
than once of a case is its median.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis.order import CASES, DESIGNS, OBSERVER_FAULTS, in_order
from observer.analysis.statistics import (
    median_interval,
    permutation_p,
    ratio_interval,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "against",
    "by_fault",
    "faults_of",
    "observer_faults",
    "per_run",
    "silence",
    "silent_of",
]

HOUR_S = 3600
RULE_OF_THREE = 3.0
"""None in n hours: with 95 % confidence, fewer than 3/n an hour."""


def faults_of(cases: pd.DataFrame) -> pd.DataFrame:
    """The rows in which something of a guest's was broken, in order."""
    return cases[~cases["silent"].astype(bool) & ~cases["case"].isin(OBSERVER_FAULTS)]


def silent_of(cases: pd.DataFrame) -> pd.DataFrame:
    """The rows in which nothing was broken, neither of a guest's nor the observer."""
    return cases[cases["silent"].astype(bool) & ~cases["case"].isin(OBSERVER_FAULTS)]


def per_run(cases: pd.DataFrame) -> pd.DataFrame:
    """One row for each run, design and fault; seen if it was each time.

    `bound_ms` is the detection, or where there was none how long one waited for it.
    """
    broken = faults_of(cases)
    detected = broken["detected"].astype(bool)
    detection_ms = broken["detection_ms"].astype(float)
    keys = ["design", "case", "run_id"]
    rows = broken[keys].assign(
        seen=detected,
        detection_ms=detection_ms,
        bound_ms=detection_ms.where(detected, broken["waited_ms"].astype(float)),
    )
    runs = (
        rows.groupby(keys, sort=False)
        .agg({"seen": "all", "detection_ms": "median", "bound_ms": "median"})
        .reset_index()
    )
    runs["detection_ms"] = runs["detection_ms"].where(runs["seen"])
    return runs


def by_fault(cases: pd.DataFrame) -> pd.DataFrame:
    """Median detection over the runs that saw a fault, with its interval."""
    import pandas as pd

    runs = per_run(cases)
    rows: list[dict[str, Any]] = []
    for case in in_order(runs["case"], CASES):
        for design in in_order(runs["design"], DESIGNS):
            its = runs[(runs["case"] == case) & (runs["design"] == design)]
            if its.empty:
                continue
            middle, low, high, seen = median_interval(its["detection_ms"])
            rows.append(
                {
                    "case": case,
                    "design": design,
                    "runs": len(its),
                    "seen": seen,
                    "median_ms": middle,
                    "low_ms": low,
                    "high_ms": high,
                }
            )
    columns = ["case", "design", "runs", "seen", "median_ms", "low_ms", "high_ms"]
    return pd.DataFrame(rows, columns=columns)


def against(cases: pd.DataFrame, ours: str) -> pd.DataFrame:
    """How many times sooner ours was than each other design, by fault.

    The ratio is one of medians over the runs that saw it.  In the test a run that
    missed counts with the time that one waited: it took longer than that.
    """
    import pandas as pd

    runs = per_run(cases)
    rows: list[dict[str, Any]] = []
    for case in in_order(runs["case"], CASES):
        here = runs[runs["case"] == case]
        mine = here[here["design"] == ours]
        for design in in_order(here["design"], DESIGNS):
            theirs = here[here["design"] == design]
            if design == ours or mine.empty or not theirs["seen"].any():
                continue
            ratio = ratio_interval(theirs["detection_ms"], mine["detection_ms"])
            rows.append(
                {
                    "case": case,
                    "design": design,
                    "ours_ms": mine["detection_ms"].median(),
                    "theirs_ms": theirs["detection_ms"].median(),
                    "ratio": ratio.middle,
                    "low": ratio.low,
                    "high": ratio.high,
                    "p": permutation_p(mine["bound_ms"], theirs["bound_ms"]),
                    "ours_runs": len(mine),
                    "theirs_runs": len(theirs),
                }
            )
    columns = ["case", "design", "ours_ms", "theirs_ms", "ratio", "low", "high", "p"]
    return pd.DataFrame(rows, columns=[*columns, "ours_runs", "theirs_runs"])


def silence(cases: pd.DataFrame) -> pd.DataFrame:
    """False verdicts of each design: where nothing was broken, and beside faults.

    Beside faults also while it stood still itself, and after.
    `at_most_per_hour` is the upper end of a one-sided 95 % interval where none was.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for design in in_order(cases["design"], DESIGNS):
        its = cases[cases["design"] == design]
        silent = silent_of(its)
        wrong = silent[silent["wrong_verdicts"] > 0]
        hours = silent["waited_ms"].sum() / 1000 / HOUR_S
        count = int(silent["wrong_verdicts"].sum())
        beside = its.drop(silent.index)
        rows.append(
            {
                "design": design,
                "runs": its["run_id"].nunique(),
                "silent_cases": len(silent),
                "false": count,
                "in_cases": ", ".join(in_order(wrong["case"], CASES)),
                "hours": hours,
                "at_most_per_hour": RULE_OF_THREE / hours
                if hours and not count
                else float("nan"),
                "faults": len(beside),
                "beside_faults": int(beside["wrong_verdicts"].sum()),
            }
        )
    columns = ["design", "runs", "silent_cases", "false", "in_cases", "hours"]
    columns += ["at_most_per_hour", "faults", "beside_faults"]
    return pd.DataFrame(rows, columns=columns)


def observer_faults(cases: pd.DataFrame) -> pd.DataFrame:
    """Of each design, in how many runs its own crash or hang harmed nobody."""
    import pandas as pd

    mine = cases[cases["case"].isin(OBSERVER_FAULTS) & cases["unharmed"].notna()]
    rows = [
        {
            "design": design,
            "case": case,
            "runs": len(its),
            "unharmed": int(its["unharmed"].astype(bool).sum()),
            "false": int(its["wrong_verdicts"].sum()),
        }
        for design in in_order(mine["design"], DESIGNS)
        for case in OBSERVER_FAULTS
        if len(its := mine[(mine["design"] == design) & (mine["case"] == case)])
    ]
    columns = ["design", "case", "runs", "unharmed", "false"]
    return pd.DataFrame(rows, columns=columns)
