# SPDX-License-Identifier: Apache-2.0
"""What a client felt: latency of its requests, calm and while something was broken.

Pure: from the rows of requests and cases to frames.  A latency counts from when its
request was due, so that waiting behind others is in it; what was never answered came
later than all that was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from observer.analysis.detection import faults_of
from observer.analysis.order import CASES, DESIGNS, in_order
from observer.analysis.statistics import NOTHING, Interval, median_interval
from observer.clock import MS, SECOND
from observer.experiment.spread import CALM, spread_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CALM", "LATENCIES", "by_phase", "per_run"]

LATENCIES = ("mean_ms", "p95_ms", "p99_ms")
FELT = (*LATENCIES, "longest_silence_ms")
UNASKED_NS = SECOND
"""No request due for so long: nobody asked, so that it was no silence."""


def _first_asking(due: pd.DataFrame) -> pd.DataFrame:
    """Until nobody asked for a while.

    Who asks beside faults begins a moment before the first is told: those requests are
    due in no calm.
    """
    asking = (due["intended_ns"].diff() > UNASKED_NS).cumsum()
    return due[asking == 0]


def _longest_silence_ms(came_ns: Any, begin_ns: float, end_ns: float) -> float:
    """The longest time without an answer that began in a span, from its beginning on.

    One that began in it may end after it; one that never ended counts to its end.
    """
    inside = came_ns[(came_ns > begin_ns) & (came_ns < end_ns)]
    after = came_ns[came_ns >= end_ns]
    last = after[:1] if len(after) else [end_ns]
    return float(np.diff(np.concatenate([[begin_ns], inside, last])).max()) / MS


def _felt(due: pd.DataFrame, came_ns: Any, end_ns: float) -> dict[str, Any]:
    """Of requests in the order in which they were due."""
    times = [None if np.isnan(ns) else int(ns) for ns in due["latency_ns"]]
    spread = spread_of(times)
    begin_ns = float(due["intended_ns"].iloc[0])
    return {
        "requests": len(due),
        "lost": times.count(None),
        **{name: getattr(spread, name) for name in LATENCIES},
        "longest_silence_ms": _longest_silence_ms(came_ns, begin_ns, end_ns),
    }


def _of_run(
    asked: pd.DataFrame, faults: pd.DataFrame
) -> list[tuple[str, float, dict[str, Any]]]:
    """What one run tells: phase, how long it lasted in ms, and what was felt in it."""
    asked = asked.sort_values("intended_ns").astype({"latency_ns": float})
    came_ns = np.sort((asked["intended_ns"] + asked["latency_ns"]).dropna().to_numpy())
    found = []
    if len(calm := _first_asking(asked[asked["phase"] == CALM])):
        first, last = calm["intended_ns"].iloc[[0, -1]]
        found.append((CALM, (last - first) / MS, _felt(calm, came_ns, float(last))))
    for fault in faults.itertuples():
        end_ns = fault.effect_ns + fault.waited_ms * MS
        due = asked[asked["intended_ns"].between(fault.effect_ns, end_ns)]
        due = due[due["phase"] == fault.case]
        if len(due):
            found.append((fault.case, fault.waited_ms, _felt(due, came_ns, end_ns)))
    return found


def per_run(requests: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    """One row for each run, design and phase: calm, or a fault while it lasted.

    A fault lasts until its design has said all of it, or was waited for in vain: nobody
    repairs here.  What was due once it was undone is in no row.
    """
    import pandas as pd

    faults, rows = faults_of(cases), []
    for (design, run_id), asked in requests.groupby(["design", "run_id"], sort=False):
        mine = faults[faults["run_id"] == run_id]
        rows += [
            {
                "design": design,
                "run_id": run_id,
                "phase": phase,
                "lasted_ms": ms,
                **felt,
            }
            for phase, ms, felt in _of_run(asked, mine)
        ]
    columns = ["design", "run_id", "phase", "lasted_ms", "requests", "lost", *FELT]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(FELT, float))


def _over_runs(figures: pd.Series) -> Interval:
    """Nothing is known of a percentile that fell among the lost in any run."""
    return NOTHING if figures.isna().any() else median_interval(figures)


def by_phase(requests: pd.DataFrame, cases: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each phase and design: intervals over runs, and how many were lost."""
    runs = per_run(requests, cases)
    return [
        {
            "phase": phase,
            "design": design,
            "runs": len(its),
            "requests": int(its["requests"].sum()),
            "lost": int(its["lost"].sum()),
            **{name: _over_runs(its[name]) for name in (*FELT, "lasted_ms")},
        }
        for phase in in_order(runs["phase"], (CALM, *CASES))
        for design in in_order(runs["design"], DESIGNS)
        if len(its := runs[(runs["phase"] == phase) & (runs["design"] == design)])
    ]
