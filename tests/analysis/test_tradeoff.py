# SPDX-License-Identifier: Apache-2.0
"""The curve of what other limits would have cost, over all recordings there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from synthetic_runs import write_recording, write_tradeoff

from observer.analysis.tradeoff import by_limit, frame_of, read_recordings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs, one that did not end, and a recording of another day."""
    for run in (1, 2, 3):
        write_tradeoff(tmp_path, run, "sleeping")
    folder = tmp_path / "tradeoff/03-sleeping"
    folder.rename(folder.with_name("03-sleeping.part"))
    write_recording(tmp_path / "recording-today.parquet", 7)
    return tmp_path


def test_recordings_of_runs_and_others_are_found(root: Path) -> None:
    """Each has a name; what is not whole is none."""
    found = [recording.name for recording in read_recordings([root, root])]

    assert found == [
        "recording-today",
        "tradeoff/01-sleeping",
        "tradeoff/02-sleeping",
    ]


def test_a_limit_is_judged_by_all_recordings(root: Path) -> None:
    """The median an hour with its interval; the sum is what it is of."""
    recordings = read_recordings([root])
    found = {(row["debt"], row["limit_ms"]): row for row in by_limit(recordings)}
    frame = frame_of(recordings)
    its = frame[(frame["debt"] == "backend") & (frame["limit_ms"] == 2)]

    row = found["backend", 2]
    assert row["recordings"] == row["for_nothing_per_hour"].runs == 3
    assert row["for_nothing"] == its["for_nothing"].sum()
    middle, low, high, _ = row["for_nothing_per_hour"]
    assert low < middle < high
    assert middle == its["for_nothing_per_hour"].median()
    assert row["sooner_ms"] == 18
    assert found["backend", 1]["for_nothing"] > row["for_nothing"] > 0
