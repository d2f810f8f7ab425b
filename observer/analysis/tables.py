# SPDX-License-Identifier: Apache-2.0
"""The tables of a run folder: their columns, types and units; written whole or not.

One who measures writes rows by `write_table`; one who reads gets what was written, or
one sentence of why not.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from observer.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

__all__ = [
    "FORMAT",
    "TABLES",
    "Column",
    "other_version",
    "read_table",
    "schema_of",
    "unwritable",
    "write_table",
]

FORMAT = 3
Kind = Literal["string", "bool", "int32", "int64", "float64"]


class Column(NamedTuple):
    """A column of a table; `maybe` says that a row may have nothing there."""

    name: str
    kind: Kind
    unit: str = ""
    """E.g. ns, ms, MiB; 1 is a count or a share, nothing is a word."""
    maybe: bool = False


_LATENCIES = tuple(
    Column(name, "float64", "ms", maybe=True)
    for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms")
)

TABLES: dict[str, tuple[Column, ...]] = {
    "cases": (
        Column("case", "string"),
        Column("silent", "bool"),
        Column("vm", "string"),
        Column("effect_ns", "int64", "ns"),
        Column("verdict_ns", "int64", "ns", maybe=True),
        Column("detection_ms", "float64", "ms", maybe=True),
        Column("detected", "bool"),
        Column("kind", "string", maybe=True),
        Column("subject", "string", maybe=True),
        Column("evidence", "string"),
        Column("wrong_verdicts", "int32", "1"),
        Column("waited_ms", "float64", "ms"),
        Column("unharmed", "bool", maybe=True),
    ),
    # All that was said, whether it counts or not: cases are judged by these.
    "verdicts": (
        Column("monotonic_ns", "int64", "ns"),
        Column("since_ns", "int64", "ns"),
        Column("vm", "string"),
        Column("subject", "string"),
        Column("kind", "string"),
        Column("evidence", "string"),
    ),
    # BPF run time has no memory, and a host has nothing but exits.
    "cost": (
        Column("role", "string"),
        Column("vm", "string"),
        Column("phase", "string"),
        Column("seconds", "float64", "s"),
        Column("cpu_ms", "float64", "ms", maybe=True),
        Column("rss_mib", "float64", "MiB", maybe=True),
        Column("wakeups", "int64", "1", maybe=True),
        Column("preempted", "int64", "1", maybe=True),
        Column("exits", "int64", "1", maybe=True),
    ),
    "requests": (
        Column("phase", "string"),
        Column("intended_ns", "int64", "ns"),
        Column("latency_ns", "int64", "ns", maybe=True),
    ),
    "workload": (
        Column("workload", "string"),
        Column("turn", "int32", "1"),
        Column("unit", "string"),
        Column("throughput", "float64", "unit", maybe=True),
        *_LATENCIES,
        Column("observer_cpu_ms", "float64", "ms"),
        Column("wrong_verdicts", "int32", "1"),
        Column("guest_exits", "int64", "1"),
        Column("seconds", "float64", "s"),
    ),
    "scale": (
        Column("vms", "int32", "1"),
        Column("late_share", "float64", "1"),
        Column("turn", "int32", "1"),
        Column("seconds", "float64", "s"),
        Column("wakeups", "int64", "1"),
        Column("cpu_ms", "float64", "ms"),
        Column("rss_mib", "float64", "MiB"),
        Column("suspicions", "int64", "1"),
    ),
}


def _check_installed() -> None:
    if find_spec("pyarrow") is None or find_spec("pandas") is None:
        raise UsageError(
            "Runs are Parquet files: pip install 'kvm-observer[analysis]'."
        )


def other_version(path: Path, found: object) -> UsageError:
    """What is said of a folder or file whose format is another."""
    return UsageError(
        f"{path} was written by another version (format {found}, this one reads "
        f"{FORMAT}): run it again or use that version."
    )


def unwritable(path: Path, error: OSError) -> HostError:
    """What is said where something of a run cannot be written."""
    return HostError(
        f"{path} cannot be written ({error.strerror or error}): make room or mend the "
        "folder, and run it again; the runs before it are kept."
    )


def schema_of(table: str, experiment: str) -> pa.Schema:
    """The schema of a table, with units, as a file of this experiment has it."""
    _check_installed()
    import pyarrow as pa

    fields = [
        pa.field(c.name, c.kind, nullable=c.maybe, metadata={"unit": c.unit})
        for c in TABLES[table]
    ]
    facts = {"format": str(FORMAT), "experiment": experiment, "table": table}
    return pa.schema(fields, metadata=facts)


def _checked(table: str, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows; ValueError where one has a column too many or lacks one."""
    known = {c.name for c in TABLES[table]}
    needed = {c.name for c in TABLES[table] if not c.maybe}
    for row in rows:
        there = {name for name, value in row.items() if value is not None}
        if wrong := sorted({*row} - known) or sorted(needed - there):
            raise ValueError(f"a row of {table} is wrong in {', '.join(wrong)}: {row}")
    return list(rows)


def write_table(
    path: Path, table: str, rows: Sequence[Mapping[str, Any]], *, experiment: str
) -> None:
    """Write it whole, to the disk, or leave nothing; HostError where that fails."""
    schema = schema_of(table, experiment)
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = pa.Table.from_pylist(_checked(table, rows), schema=schema)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            pq.write_table(whole, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as e:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(path, e) from e


def read_table(path: Path, table: str, experiment: str) -> pd.DataFrame:
    """Rows as a frame; UsageError for what is cut off, foreign, or of another time."""
    _check_installed()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            whole = file.read()
    except FileNotFoundError as e:
        raise UsageError(f"{path} is missing: run it again.") from e
    except (pa.ArrowException, OSError) as e:
        raise UsageError(
            f"{path} is no Parquet file, or only a part of one: take its folder away "
            "and run it again."
        ) from e
    facts = whole.schema.metadata or {}
    if b"format" not in facts or b"experiment" not in facts:
        raise UsageError(
            f"{path} was not written by `observer experiment run`: take it out of the "
            "folder."
        )
    if facts[b"format"] != str(FORMAT).encode():
        raise other_version(path, facts[b"format"].decode(errors="replace"))
    _check_whose(path, facts, table, experiment)
    for column in TABLES[table]:
        index = whole.schema.get_field_index(column.name)
        if index < 0 or str(whole.schema.field(index).type) != _type_name(column.kind):
            raise UsageError(
                f"{path} has no {column.name} of type {column.kind}, as a table of "
                f"{table} has: run it again."
            )
    return whole.select([c.name for c in TABLES[table]]).to_pandas()


def _check_whose(
    path: Path, facts: Mapping[bytes, bytes], table: str, experiment: str
) -> None:
    """UsageError for what was written as another table, or in another experiment."""
    wanted = {b"table": table, b"experiment": experiment}
    for key, name in wanted.items():
        found = facts.get(key, b"none").decode(errors="replace")
        if found != name:
            raise UsageError(
                f"{path} is of another {key.decode()} ({found}, not {name}): take its "
                "folder away and run it again."
            )


def _type_name(kind: Kind) -> str:
    """What pyarrow calls it."""
    return "double" if kind == "float64" else kind
