# SPDX-License-Identifier: Apache-2.0
"""What other limits would have cost and gained, by recordings of runs or others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from observer.analysis.document import Section, Table, figure, spread
from observer.analysis.runs import PART
from observer.analysis.statistics import median_interval
from observer.replay.tradeoff import Limit, curve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

__all__ = [
    "NO_RECORDING",
    "Recording",
    "by_limit",
    "frame_of",
    "read_recordings",
    "tradeoff_section",
]

PATTERN = "recording*.parquet"
NO_RECORDING = (
    f"No trade-off curve: no run of `tradeoff` nor other {PATTERN} of `observer "
    "record` is there."
)


class Recording(msgspec.Struct, frozen=True):
    """One of a host's debts, judged by many limits."""

    name: str
    kernel: str
    seconds: float
    lost: int
    limits: list[Limit]


def _found(roots: Sequence[Path]) -> dict[str, Path]:
    """By name: those in these folders, and those that runs have kept."""
    found: dict[str, Path] = {}
    for root in roots:
        found |= {path.stem: path for path in sorted(root.glob(PATTERN))}
        found |= {
            f"{path.parent.parent.name}/{path.parent.name}": path
            for path in sorted(root.glob(f"*/*/{PATTERN}"))
            if path.parent.suffix != PART
        }
    return found


def read_recordings(roots: Sequence[Path]) -> list[Recording]:
    """Those in these folders, judged; UsageError where one is none."""
    from observer.replay.recording import read_recording

    found = []
    for name, path in _found(roots).items():
        events, facts = read_recording(path)
        limits = curve(events, facts)
        found.append(Recording(name, facts.kernel, facts.seconds, facts.lost, limits))
    return found


def frame_of(recordings: Sequence[Recording]) -> pd.DataFrame:
    """A row for each limit."""
    import pandas as pd

    rows = [
        {"recording": recording.name, **msgspec.structs.asdict(limit)}
        for recording in recordings
        for limit in recording.limits
    ]
    return pd.DataFrame(rows, columns=["recording", *Limit.__struct_fields__])


def by_limit(recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """Of each debt and limit, over all recordings that have the debt."""
    frame = frame_of(recordings)
    return [
        {
            "debt": debt,
            "limit_ms": limit_ms,
            "recordings": len(its),
            "for_nothing": int(its["for_nothing"].sum()),
            "for_nothing_per_hour": median_interval(its["for_nothing_per_hour"]),
            "sooner_ms": float(its["sooner_ms"].median()),
        }
        for (debt, limit_ms), its in frame.groupby(["debt", "limit_ms"], sort=False)
    ]


def tradeoff_section(recordings: Sequence[Recording]) -> Section | None:
    """What a limit costs in suspicions for nothing, and gains in time."""
    if not recordings:
        return None
    rows = tuple(
        (
            row["debt"],
            f"{row['limit_ms']:g}",
            str(row["recordings"]),
            f"{row['for_nothing']:,}",
            spread(row["for_nothing_per_hour"]),
            figure(row["sooner_ms"]),
        )
        for row in by_limit(recordings)
    )
    columns = ("debt", "limit, ms", "recordings", "for nothing")
    return Section(
        "Trade-off: what a shorter limit costs",
        (
            "Recordings of `observer record` beside guests of which none was broken.",
            (
                "A suspicion for nothing is of a debt that was paid after all: a "
                "second look refutes it, so it costs a look and is no false verdict."
            ),
            "Sooner is than the limit of the daemon that ran beside the recording.",
        ),
        (
            Table(
                "By debt and limit",
                (*columns, "for nothing an hour", "sooner, ms"),
                rows,
                tuple(
                    f"{its.name}: {figure(its.seconds)} s on Linux "
                    f"{its.kernel or 'unknown'}, {its.lost:,} events lost."
                    for its in recordings
                ),
            ),
        ),
        "tradeoff",
    )
