# SPDX-License-Identifier: Apache-2.0
"""A recording is read as it was written; what is none is refused in a sentence."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from observer.errors import UsageError
from observer.replay.event import EVENT, Debt, Events, What
from observer.replay.recording import (
    Facts,
    RecordingWriter,
    name_of,
    read_recording,
)

if TYPE_CHECKING:
    from pathlib import Path

FACTS = Facts(
    kernel="6.12",
    cpus=3,
    seconds=2.5,
    vms={4: "web"},
    owners={"vcpu": {9: 4}, "backend": {}},
    limits_ns={"vcpu": 100},
)


def some_events(count: int) -> Events:
    chance = np.random.default_rng(1)
    events = np.zeros(count, EVENT)
    events["ns"], events["clock_ns"] = chance.integers(0, 1 << 62, (2, count))
    events["slot"] = chance.integers(0, 8192, count)
    events["debt"] = chance.integers(0, len(Debt), count)
    events["what"] = chance.integers(0, len(What), count)
    return events


def write(path: Path, events: Events) -> None:
    with RecordingWriter(path) as writer:
        for part in np.array_split(events, 3):
            writer.append(part)
        writer.describe(FACTS)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Events in their order, and the facts; nothing else is left behind."""
    path, events = tmp_path / "some.parquet", some_events(1000)
    write(path, events)
    found, facts = read_recording(path)

    assert np.array_equal(found, events)
    assert facts == FACTS
    assert list(tmp_path.iterdir()) == [path]
    assert name_of(facts, Debt.VCPU, 9) == "web"
    assert name_of(facts, Debt.CALLED, 4) == "web"
    assert name_of(facts, Debt.BACKEND, 7) == "slot 7"


def test_an_empty_one_is_one_too(tmp_path: Path) -> None:
    """Nothing happened, and that is said."""
    write(tmp_path / "some.parquet", some_events(0))
    events, facts = read_recording(tmp_path / "some.parquet")
    assert (len(events), facts) == (0, FACTS)


def test_half_of_one_is_none(tmp_path: Path) -> None:
    """However much is missing."""
    path = tmp_path / "some.parquet"
    write(path, some_events(1000))
    whole = path.read_bytes()
    for count in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:count])
        with pytest.raises(UsageError, match="record it again"):
            read_recording(path)


def test_another_file_is_none(tmp_path: Path) -> None:
    """Of somebody else, of a later version, or with what cannot be."""
    path = tmp_path / "other.parquet"
    with pytest.raises(UsageError, match="is not there"):
        read_recording(path)

    def write_table(columns: dict[str, list[int]], said: str | None) -> None:
        table = pa.table(columns)
        told = None if said is None else {"observer": said}
        pq.write_table(table.replace_schema_metadata(told), path)

    column = {name: [0] for name in ("ns", "clock_ns", "slot", "debt", "what")}
    write_table(column, None)
    with pytest.raises(UsageError, match="no recording of observer's"):
        read_recording(path)
    write_table(column, '{"format":"observer-recording-9"}')
    with pytest.raises(UsageError, match=r"version \(observer-recording-9"):
        read_recording(path)
    write_table({"ns": [1]}, "{}")
    with pytest.raises(UsageError, match="another version"):
        read_recording(path)
    for name in ("slot", "debt", "what"):
        write_table(column | {name: [100_000 if name == "slot" else 9]}, "{}")
        with pytest.raises(UsageError, match="events that cannot be"):
            read_recording(path)


def test_where_it_cannot_be_written_is_said(tmp_path: Path) -> None:
    """At once, not after an hour."""
    with pytest.raises(UsageError, match="cannot be written"):
        RecordingWriter(tmp_path / "nowhere/some.parquet")


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from observer.errors import UsageError
from observer.replay.event import EVENT
from observer.replay.recording import RecordingWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
chance = np.random.default_rng(1)
try:
    with RecordingWriter(Path(sys.argv[1])) as writer:
        for _ in range(100):
            writer.append(np.frombuffer(chance.bytes(24_000), EVENT))
except UsageError as e:
    print(e.message)
"""


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """And what is half made has not the name of a recording."""
    path = tmp_path / "some.parquet"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "make room" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr
    assert not path.exists()
