# SPDX-License-Identifier: Apache-2.0
"""A table is read as it was written; a full disk leaves nothing half written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.analysis.tables import (
    FORMAT,
    TABLES,
    read_table,
    schema_of,
    write_table,
)
from observer.errors import HostError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS = [
    {"phase": "calm", "intended_ns": 1_000_000_000_001, "latency_ns": 5},
    {"phase": "idle", "intended_ns": 2, "latency_ns": None},
]


def write(path: Path) -> Path:
    write_table(path, "requests", REQUESTS, experiment="detection")
    return path


def test_rows_come_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    """A request that was lost has no latency, and is no zero."""
    frame = read_table(write(tmp_path / "requests.parquet"), "requests", "detection")

    assert frame["intended_ns"].tolist() == [1_000_000_000_001, 2]
    assert frame["latency_ns"].isna().tolist() == [False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["requests.parquet"]


@pytest.mark.parametrize("table", TABLES)
def test_each_column_has_its_unit(table: str) -> None:
    """By its name: who reads a file alone need not guess."""
    schema = schema_of(table, "detection")

    assert schema.metadata[b"format"] == b"%d" % FORMAT
    assert schema.metadata[b"experiment"] == b"detection"
    for field in schema:
        unit = field.metadata[b"unit"].decode()
        for ending, its in (("_ns", "ns"), ("_ms", "ms"), ("_mib", "MiB")):
            assert (unit == its) == field.name.endswith(ending), field.name


@given(st.sampled_from(sorted(TABLES)), st.data())
def test_a_row_that_lacks_a_column_is_refused(table: str, data: st.DataObject) -> None:
    """As is one that has a column too many: that is a bug of who measures."""
    samples = {"string": "", "bool": False, "int32": 1, "int64": 1, "float64": 1.0}
    row = {c.name: samples[c.kind] for c in TABLES[table]}
    needed = [c.name for c in TABLES[table] if not c.maybe]
    name = data.draw(st.sampled_from(needed))
    for wrong in ({**row, name: None}, {**row, "more": 1}):
        with pytest.raises(ValueError, match=name if wrong[name] is None else "more"):
            write_table(None, table, [wrong], experiment="x")  # type: ignore[arg-type]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """Nor does it take away what was there."""
    path = write(tmp_path / "requests.parquet")
    before = path.read_bytes()
    (tmp_path / "requests.parquet.part").symlink_to("/dev/full")

    with pytest.raises(HostError, match=r"No space left on device.*make room"):
        write(path)

    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_file_that_was_cut_off_is_told(tmp_path: Path, kept: int) -> None:
    """Wherever it was cut."""
    path = write(tmp_path / "requests.parquet")
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(UsageError, match="only a part of one"):
        read_table(path, "requests", "detection")


def test_a_foreign_file_is_told(tmp_path: Path) -> None:
    """It is sound, but nobody of ours wrote it."""
    path = tmp_path / "requests.parquet"
    pq.write_table(pa.table({"x": [1]}), path)

    with pytest.raises(UsageError, match="was not written by"):
        read_table(path, "requests", "detection")


def test_a_file_of_another_version_is_told(tmp_path: Path) -> None:
    """With both versions, and what to do."""
    path = write(tmp_path / "requests.parquet")
    table = pq.read_table(path)
    facts = {**table.schema.metadata, b"format": b"%d" % (FORMAT + 1)}
    pq.write_table(table.replace_schema_metadata(facts), path)

    said = rf"format {FORMAT + 1}, this one reads {FORMAT}.*run it again"
    with pytest.raises(UsageError, match=said):
        read_table(path, "requests", "detection")


def test_a_column_of_another_type_is_told(tmp_path: Path) -> None:
    """Rather than counted with."""
    path = write(tmp_path / "requests.parquet")
    table = pq.read_table(path)
    words = table.cast(pa.schema([(f.name, pa.string()) for f in table.schema]))
    pq.write_table(words.replace_schema_metadata(table.schema.metadata), path)

    with pytest.raises(UsageError, match="no intended_ns of type int64"):
        read_table(path, "requests", "detection")


@pytest.mark.parametrize(
    ("table", "experiment", "said"),
    [
        ("cases", "detection", r"another table \(requests, not cases\)"),
        ("requests", "services", r"another experiment \(detection, not services\)"),
    ],
)
def test_a_file_that_was_put_elsewhere_is_told(
    tmp_path: Path, table: str, experiment: str, said: str
) -> None:
    """Its rows would count for what they are not."""
    path = write(tmp_path / "requests.parquet")

    with pytest.raises(UsageError, match=said):
        read_table(path, table, experiment)
