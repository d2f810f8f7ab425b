# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from observer.experiment.overhead import Window, workload_row
from observer.experiment.spread import Spread

WINDOW = Window(
    design="sleeping",
    workload="nginx",
    turn=1,
    unit="requests/s of 1000, 10 at once",
    throughput=240.0,
    spread=Spread(41.0, 40.0, 60.0, None),
    observer_cpu_ms=3.5,
    guest_exits=9000,
    seconds=4.1,
    verdicts=0,
    answers=None,
)
COLUMNS = [
    *("workload", "turn", "unit", "throughput", "mean_ms", "p50_ms", "p95_ms"),
    *("p99_ms", "observer_cpu_ms", "guest_exits", "wrong_verdicts", "seconds"),
]


def test_a_window_is_a_row() -> None:
    """With the columns of workload.parquet, and the design."""
    row = workload_row(WINDOW)

    assert list(row) == ["design", *COLUMNS]
    assert (row["p50_ms"], row["p99_ms"]) == (40.0, None)


def test_a_workload_without_requests_has_no_latencies() -> None:
    """The columns are there."""
    bare = {"workload": "idle", "unit": "", "throughput": None, "spread": None}
    row = workload_row(Window(**{**_fields(WINDOW), **bare}))

    assert list(row) == ["design", *COLUMNS]
    assert row["throughput"] is row["mean_ms"] is row["p99_ms"] is None


def _fields(window: Window) -> dict:
    return {name: getattr(window, name) for name in window.__struct_fields__}
