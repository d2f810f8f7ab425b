# SPDX-License-Identifier: Apache-2.0
"""What the rows of an experiment come to: medians, tails, and the ratios that count.

One run is one sample; the figures of a file come from one host and one load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from observer.errors import HostError
from observer.experiment.rows import Head

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from observer.experiment.rows import Row

__all__ = ["Ratio", "Report", "Summary", "report_of"]

PHOENIX_TMAX_MS = 4000.0
"""After which Phoenix holds a NIC driver for hung (DSN 2020, section IV-B)."""
CRASHES = ("service-crash", "vmm-crash")
HANGS = ("nic-hang", "netback-hang", "service-hang")
FEW = 20  # below that many samples a 95th percentile is the largest


class Summary(msgspec.Struct, frozen=True):
    """All runs of one design and one fault."""

    design: str
    fault: str
    n: int
    detected: int
    repaired: int
    detection_ms: float | None
    detection_p95_ms: float | None
    recovery_ms: float | None
    recovery_p95_ms: float | None
    paid_ms: float | None
    longest_gap_ms: float | None
    lost: int | None
    duplicated: int | None
    reordered: int | None
    tcp_survived: int | None
    io_errors: int | None
    verify_errors: int | None
    two_writers: int | None


class Ratio(msgspec.Struct, frozen=True):
    """How many times smaller one median is than another."""

    what: str
    ours_ms: float | None
    theirs_ms: float | None
    ratio: float | None
    bar: float
    passed: bool | None
    """None: one of the two was not measured."""


class Report(msgspec.Struct, frozen=True):
    """All of it."""

    heads: list[Head]
    """Of each file."""
    summaries: list[Summary]
    ratios: list[Ratio]


def _pandas() -> ModuleType:
    try:
        import pandas as pd
    except ImportError as e:
        raise HostError(
            "pandas is missing: pip install 'kvm-observer[analysis]'."
        ) from e
    module: ModuleType = pd
    return module


def _figure(value: Any) -> float | None:
    """A float, or None for what was not there."""
    return None if value != value else round(float(value), 3)  # noqa: PLR0124 - NaN


def _count(column: Any) -> int | None:
    """The sum of a column, None where the thing does not apply."""
    there = column.dropna()
    return None if there.empty else int(there.sum())


def _tail(column: Any) -> float | None:
    """The 95th percentile, of few samples the largest."""
    there = column.dropna().astype(float)
    if there.empty:
        return None
    return _figure(there.max() if len(there) < FEW else there.quantile(0.95))


def _summary(design: str, fault: str, runs: Any) -> Summary:
    def median(name: str) -> float | None:
        return _figure(runs[name].astype(float).median())

    return Summary(
        design=design,
        fault=fault,
        n=len(runs),
        detected=int(runs["detected"].sum()),
        repaired=int(runs["repaired"].sum()),
        detection_ms=median("detection_ms"),
        detection_p95_ms=_tail(runs["detection_ms"]),
        recovery_ms=median("recovery_ms"),
        recovery_p95_ms=_tail(runs["recovery_ms"]),
        paid_ms=median("paid_ms"),
        longest_gap_ms=median("longest_gap_ms"),
        lost=_count(runs["lost_packets"]),
        duplicated=_count(runs["duplicated_packets"]),
        reordered=_count(runs["reordered_packets"]),
        tcp_survived=_count(runs["tcp_survived"]),
        io_errors=_count(runs["io_errors"]),
        verify_errors=_count(runs["verify_errors"]),
        two_writers=_count(runs["two_writers"]),
    )


def _ratio(what: str, ours: float | None, theirs: float | None, bar: float) -> Ratio:
    found = round(theirs / ours, 2) if ours and theirs else None
    passed = None if found is None else found >= bar
    return Ratio(what, ours, theirs, found, bar, passed)


def _ratios(frame: Any, experiment: str) -> list[Ratio]:
    def median(column: str, design: str, faults: Sequence[str]) -> float | None:
        mine = frame[(frame["design"] == design) & frame["fault"].isin(faults)]
        return _figure(mine[column].astype(float).median())

    def crash(column: str, design: str) -> float | None:
        return median(column, design, CRASHES)

    if experiment == "all-failure":
        return _whole_against_slowest(median)
    if experiment != "net-failure":
        return []
    hang = median("detection_ms", "fg", HANGS)
    whole = ("vmm-crash",)
    return [
        _ratio(
            "recovery of a crash, spare against cg",
            crash("recovery_ms", "spare"),
            crash("recovery_ms", "cg"),
            5,
        ),
        _ratio(
            "recovery of vmm-crash, cg against linux-vm",
            median("recovery_ms", "cg", whole),
            median("recovery_ms", "linux-vm", whole),
            5,
        ),
        _ratio(
            "detection of a crash, fg against tfd-xen-like",
            crash("detection_ms", "fg"),
            crash("detection_ms", "tfd-xen-like"),
            10,
        ),
        _ratio(
            "detection of a hang, fg against tfd-xen-like",
            hang,
            median("detection_ms", "tfd-xen-like", HANGS),
            4,
        ),
        _ratio(
            "detection of a hang, fg against Phoenix's t_max of 4 s (not run)",
            hang,
            PHOENIX_TMAX_MS,
            100,
        ),
    ]


def _whole_against_slowest(median: Any) -> list[Ratio]:
    """All services at once against the slower of the two alone; the bar is the same."""
    found = []
    for design in ("fg", "cg", "spare"):
        alone = [
            figure
            for fault in ("net-vmm-crash", "disk-vmm-crash")
            if (figure := median("recovery_ms", design, (fault,))) is not None
        ]
        whole = median("recovery_ms", design, ("all-services-crash",))
        what = f"recovery of all against the slowest alone, {design} (at least 1/2)"
        found.append(_ratio(what, whole, max(alone, default=None), 0.5))
    return found


def report_of(heads: list[Head], rows: Sequence[Row]) -> Report:
    """Sum up the rows, designs in the order in which the heads name them."""
    pd = _pandas()
    frame = pd.DataFrame([msgspec.structs.asdict(row) for row in rows])
    if frame.empty:
        return Report(heads, [], [])
    named = [design for head in heads for design in head.designs]
    summaries = [
        _summary(design, fault, runs)
        for design in dict.fromkeys([*named, *frame["design"]])
        for fault, runs in frame[frame["design"] == design].groupby("fault")
    ]
    return Report(heads, summaries, _ratios(frame, heads[0].experiment))
