# SPDX-License-Identifier: Apache-2.0
"""What other limits would have cost and gained, by recordings beside the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.analysis.document import Section, Table, figure
from observer.replay.tradeoff import Limit, curve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

__all__ = [
    "NO_RECORDING",
    "Recording",
    "frame_of",
    "read_recordings",
    "tradeoff_section",
]

PATTERN = "recording*.parquet"
NO_RECORDING = (
    f"No trade-off curve: no {PATTERN} of `observer record` lies beside the runs."
)


class Recording(msgspec.Struct, frozen=True):
    """One of a host's debts, judged by many limits."""

    name: str
    kernel: str
    seconds: float
    lost: int
    limits: list[Limit]


def read_recordings(roots: Sequence[Path]) -> list[Recording]:
    """Those in these folders, judged; UsageError where one is none."""
    from observer.replay.recording import read_recording

    found = []
    for path in sorted(path for root in roots for path in root.glob(PATTERN)):
        events, facts = read_recording(path)
        limits = curve(events, facts)
        found.append(
            Recording(path.stem, facts.kernel, facts.seconds, facts.lost, limits)
        )
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


def tradeoff_section(recordings: Sequence[Recording]) -> Section | None:
    """What a limit costs in suspicions for nothing, and gains in time."""
    if not recordings:
        return None
    tables = tuple(
        Table(
            f"{recording.name}: {figure(recording.seconds)} s on Linux "
            f"{recording.kernel or 'unknown'}, {recording.lost:,} events lost",
            ("debt", "limit, ms", "for nothing", "for nothing an hour", "sooner, ms"),
            tuple(
                (
                    limit.debt,
                    f"{limit.limit_ms:g}",
                    f"{limit.for_nothing:,}",
                    figure(limit.for_nothing_per_hour),
                    figure(limit.sooner_ms),
                )
                for limit in recording.limits
            ),
        )
        for recording in recordings
    )
    return Section(
        "Trade-off: what a shorter limit costs",
        (
            (
                "A suspicion for nothing is of a debt that was paid after all: a "
                "second look refutes it, so it costs a look and is no false verdict."
            ),
            "Sooner is than the limit of the daemon that ran beside the recording.",
        ),
        tables,
        "tradeoff",
    )
