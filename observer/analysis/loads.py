# SPDX-License-Identifier: Apache-2.0
"""What workloads felt: latency of requests, throughput beside each design.

Pure: from the rows of requests and workload to frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis.order import DESIGNS, OBSERVER_FAULTS, SILENT, in_order
from observer.analysis.statistics import (
    Interval,
    median_interval,
    permutation_p,
    ratio_interval,
)
from observer.clock import MS, SECOND

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LATENCIES", "latency", "latency_per_run", "overhead"]

LATENCIES = ("mean_ms", "p95_ms", "p99_ms")
UNASKED_NS = SECOND
"""No request due for so long: nobody asked, so that it was no silence."""
BASE = "none"
"""What the others are compared with."""


def _when(phase: str) -> str:
    """Calm, or what kind of case it was that ran beside the requests."""
    if phase == "calm":
        return "calm"
    if phase in SILENT:
        return "silent cases"
    return "observer's faults" if phase in OBSERVER_FAULTS else "faults"


def _longest_silence_ms(its: pd.DataFrame) -> float:
    """The longest time in which no answer came, of a phase, while some were due."""
    ordered = its.sort_values("intended_ns")
    asking = (ordered["intended_ns"].diff() > UNASKED_NS).cumsum()
    came = (ordered["intended_ns"] + ordered["latency_ns"]).dropna().sort_values()
    return float(came.groupby(asking).diff().max()) / MS


def latency_per_run(requests: pd.DataFrame) -> pd.DataFrame:
    """One row for each run, design and kind of phase; of the answered requests.

    Latency counts from when a request was due, so that waiting behind others is in it.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    named = requests.assign(when=requests["phase"].map(_when))
    for (design, run_id, when), its in named.groupby(
        ["design", "run_id", "when"], sort=False
    ):
        times = its["latency_ns"].dropna().astype(float) / MS
        silences = [_longest_silence_ms(part) for _, part in its.groupby("phase")]
        rows.append(
            {
                "design": design,
                "run_id": run_id,
                "when": when,
                "requests": len(its),
                "lost": int(its["latency_ns"].isna().sum()),
                "mean_ms": times.mean(),
                "p95_ms": times.quantile(0.95),
                "p99_ms": times.quantile(0.99),
                "longest_silence_ms": pd.Series(silences).max(),
            }
        )
    columns = ["design", "run_id", "when", "requests", "lost", *LATENCIES]
    return pd.DataFrame(rows, columns=[*columns, "longest_silence_ms"])


def latency(requests: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each design and kind of phase: intervals over runs, and how many were lost."""
    runs = latency_per_run(requests)
    order = ("calm", "faults", "silent cases", "observer's faults")
    return [
        {
            "when": when,
            "design": design,
            "runs": len(its),
            "requests": int(its["requests"].sum()),
            "lost": int(its["lost"].sum()),
            **{
                name: median_interval(its[name])
                for name in (*LATENCIES, "longest_silence_ms")
            },
        }
        for when in in_order(runs["when"], order)
        for design in in_order(runs["design"], DESIGNS)
        if len(its := runs[(runs["when"] == when) & (runs["design"] == design)])
    ]


def _per_run(workload: pd.DataFrame) -> pd.DataFrame:
    """The median of a run's turns."""
    measured = workload.assign(
        observer_cpu_ms_per_s=workload["observer_cpu_ms"] / workload["seconds"],
        exits_per_s=workload["guest_exits"] / workload["seconds"],
    )
    names = ["throughput", "mean_ms", "p50_ms", "p95_ms", "p99_ms"]
    names += ["observer_cpu_ms_per_s", "exits_per_s"]
    keys = ["workload", "unit", "design", "run_id"]
    return measured.groupby(keys, sort=False)[names].median().reset_index()


def _cost_of(runs: pd.DataFrame, base: pd.DataFrame, column: str) -> dict[str, Any]:
    """How much this is of what it is without an observer."""
    ratio = ratio_interval(runs[column], base[column])
    return {
        column: median_interval(runs[column]),
        f"{column}_ratio": ratio,
        f"{column}_p": permutation_p(runs[column], base[column]),
    }


def overhead(workload: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each workload and design: throughput and tail, and their ratios to `none`."""
    runs, found = _per_run(workload), []
    for name in dict.fromkeys(runs["workload"]):
        here = runs[runs["workload"] == name]
        base = here[here["design"] == BASE]
        for design in in_order(here["design"], ("none", *DESIGNS)):
            its = here[here["design"] == design]
            found.append(
                {
                    "workload": name,
                    "unit": its["unit"].iloc[0],
                    "design": design,
                    "runs": len(its),
                    **_cost_of(its, base, "throughput"),
                    **_cost_of(its, base, "p99_ms"),
                    "observer_cpu_ms_per_s": _interval(its, "observer_cpu_ms_per_s"),
                    "exits_per_s": _interval(its, "exits_per_s"),
                }
            )
    return found


def _interval(runs: pd.DataFrame, column: str) -> Interval:
    return median_interval(runs[column])
