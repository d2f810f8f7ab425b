# SPDX-License-Identifier: Apache-2.0
"""Recovery and lost packets, from the rows of `observer experiment run net-failure`.

Those files hold the rounds of one boot each: their unit is the round, not the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from observer.analysis.order import CASES, DESIGNS, in_order
from observer.analysis.statistics import median_interval
from observer.errors import UsageError
from observer.experiment.rows import Head, Row, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

__all__ = ["Sitting", "by_fault", "frame_of", "read_sittings"]


class Sitting(msgspec.Struct, frozen=True):
    """One file: one boot, many rounds."""

    name: str
    head: Head
    rows: list[Row]


def read_sittings(roots: Sequence[Path]) -> tuple[list[Sitting], list[str]]:
    """Those in these folders, and a sentence on each file that is none."""
    found: list[Sitting] = []
    notes: list[str] = []
    for path in sorted(path for root in roots for path in root.glob("*.jsonl")):
        if path.stem in {sitting.name for sitting in found}:
            continue
        try:
            found.append(Sitting(path.stem, *read_rows(path)))
        except UsageError as e:
            notes.append(f"Left out: {e.message}")
    return found, notes


def frame_of(sittings: Sequence[Sitting]) -> pd.DataFrame:
    """All rows, each with the file that it is of."""
    import pandas as pd

    rows = [
        {"sitting": sitting.name, **msgspec.structs.asdict(row)}
        for sitting in sittings
        for row in sitting.rows
    ]
    return pd.DataFrame(rows, columns=["sitting", *Row.__struct_fields__])


def _sum(column: pd.Series) -> int | None:
    there = column.dropna()
    return int(there.sum()) if len(there) else None


def by_fault(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each file, fault and design: detection, recovery, and what was lost."""
    found = []
    for sitting in dict.fromkeys(frame["sitting"]):
        mine = frame[frame["sitting"] == sitting]
        for fault in in_order(mine["fault"], CASES):
            here = mine[mine["fault"] == fault]
            for design in in_order(here["design"], DESIGNS):
                its = here[here["design"] == design]
                found.append(
                    {
                        "sitting": sitting,
                        "case": fault,
                        "design": design,
                        "rounds": len(its),
                        "repaired": int(its["repaired"].sum()),
                        "detection_ms": median_interval(its["detection_ms"]),
                        "recovery_ms": median_interval(its["recovery_ms"]),
                        "lost": _sum(its["lost_packets"]),
                        "sent": _sum(its["sent_packets"]),
                        "tcp_survived": _sum(its["tcp_survived"]),
                    }
                )
    return found
