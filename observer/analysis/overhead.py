# SPDX-License-Identifier: Apache-2.0
"""What a workload loses to an observer: throughput and tail beside those of none.

Pure: from the rows of workload to frames.  All designs share a boot, and boots differ
by far more than designs do: so each boot gives one ratio, and those are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis.order import DESIGNS, in_order
from observer.analysis.statistics import NOTHING, median_interval, sign_flip_p

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BASE", "overhead", "per_boot"]

BASE = "none"
"""What the others are compared with."""
COMPARED = ("throughput", "p99_ms")
ALSO = ("observer_cpu_ms_per_s", "exits_per_s")


def per_boot(workload: pd.DataFrame) -> pd.DataFrame:
    """One row for each boot, workload and design: the mean of its turns.

    Turns go forth and back, so that their mean has no drift of the boot in it.  Each
    with its ratios to what `none` had in the same boot; nan where it had no turn.
    """
    measured = workload.assign(
        observer_cpu_ms_per_s=workload["observer_cpu_ms"] / workload["seconds"],
        exits_per_s=workload["guest_exits"] / workload["seconds"],
    )
    keys = ["workload", "unit", "boot"]
    means = measured.groupby([*keys, "design"], sort=False)[[*COMPARED, *ALSO]].mean()
    boots = means.reset_index()
    base = boots[boots["design"] == BASE].set_index(keys)[list(COMPARED)]
    beside = boots[keys].join(base, on=keys)
    ratios = {f"{name}_ratio": boots[name] / beside[name] for name in COMPARED}
    return boots.assign(**ratios)


def _compared(its: pd.DataFrame, name: str) -> dict[str, Any]:
    """What it was, and how much that is of what it is without an observer."""
    ratios = its[f"{name}_ratio"]
    is_base = (its["design"] == BASE).all()
    return {
        name: median_interval(its[name]),
        f"{name}_ratio": NOTHING if is_base else median_interval(ratios),
        f"{name}_p": float("nan") if is_base else sign_flip_p(ratios),
    }


def overhead(workload: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each workload and design: throughput and tail, and their ratios to `none`."""
    boots, found = per_boot(workload), []
    for name in dict.fromkeys(boots["workload"]):
        here = boots[boots["workload"] == name]
        for design in in_order(here["design"], (BASE, *DESIGNS)):
            its = here[here["design"] == design]
            found.append(
                {
                    "workload": name,
                    "unit": its["unit"].iloc[0],
                    "design": design,
                    "boots": its["boot"].nunique(),
                    **_compared(its, "throughput"),
                    **_compared(its, "p99_ms"),
                    **{also: median_interval(its[also]) for also in ALSO},
                }
            )
    return found
