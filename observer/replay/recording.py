# SPDX-License-Identifier: Apache-2.0
"""A recording as a Parquet file: columns of events, and of what host they are.

It is written in row groups under another name, and has its own once it is whole.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np

from observer.errors import UsageError
from observer.kernel.cells import LIMITS
from observer.replay.event import EVENT, Debt, Events, What

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import pyarrow as pa

__all__ = ["Facts", "RecordingWriter", "name_of", "read_recording"]

FORMAT = "observer-recording-1"
KEY = b"observer"
COLUMNS = ("ns", "clock_ns", "slot", "debt", "what")


class Facts(msgspec.Struct, frozen=True):
    """Of what host a recording is, and what was watched there."""

    kernel: str = ""
    cpus: int = 0
    began: str = ""
    """ISO 8601, in UTC."""
    seconds: float = 0.0
    lost: int = 0
    """Events for which the ring had no room."""
    limits_ns: dict[str, int] = {}
    """Those of the daemon that ran beside it, by debt."""
    vms: dict[int, str] = {}
    """Slot -> name."""
    owners: dict[str, dict[int, int]] = {}
    """Debt -> slot -> the VM's slot, where those are two."""
    format: str = FORMAT


def _check_installed() -> None:
    if find_spec("pyarrow") is None:
        raise UsageError(
            "Recordings are Parquet files: pip install 'kvm-observer[analysis]'."
        )


def _table(events: Events) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: np.ascontiguousarray(events[name]) for name in COLUMNS})


class RecordingWriter:
    """Appends events to a file that is there once the block has ended."""

    def __init__(self, path: Path) -> None:
        _check_installed()
        import pyarrow.parquet as pq

        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._facts = Facts()
        try:
            self._writer = pq.ParquetWriter(
                self._part, _table(np.zeros(0, EVENT)).schema, compression="zstd"
            )
        except OSError as e:
            raise UsageError(f"{path} cannot be written ({e.strerror}).") from e

    def append(self, events: Events) -> None:
        """A row group of its own."""
        if len(events):
            try:
                self._writer.write_table(_table(events))
            except OSError as e:
                raise self._full(e) from e

    def describe(self, facts: Facts) -> None:
        """To be called once, before it is closed."""
        self._facts = facts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:  # what is half made is no recording
            with suppress(OSError):
                self._writer.close()
            return
        text = msgspec.json.encode(self._facts).decode()
        self._writer.add_key_value_metadata({KEY.decode(): text})
        try:
            self._writer.close()
        except OSError as e:
            raise self._full(e) from e
        self._part.replace(self._path)

    def _full(self, error: OSError) -> UsageError:
        return UsageError(
            f"{self._part} cannot be written further ({error}): make room, or name a "
            "file on another disk, and record it again."
        )


def read_recording(path: Path) -> tuple[Events, Facts]:
    """Raises UsageError for what is no recording, is cut off, or of another version."""
    _check_installed()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table, text = file.read(), (file.metadata.metadata or {}).get(KEY, b"")
    except FileNotFoundError as e:
        raise UsageError(f"{path} is not there: see `observer record --help`.") from e
    except (pa.ArrowException, OSError) as e:
        raise UsageError(
            f"{path} is no Parquet file, or only a part of one: record it again."
        ) from e
    try:
        facts = msgspec.json.decode(text, type=Facts)
    except msgspec.DecodeError as e:
        raise UsageError(f"{path} is no recording of observer's.") from e
    if facts.format != FORMAT or not set(COLUMNS) <= set(table.column_names):
        raise UsageError(
            f"{path} is of another version ({facts.format}, this one reads {FORMAT}): "
            "record it again."
        )
    events = np.zeros(table.num_rows, EVENT)
    for name in COLUMNS:
        events[name] = table[name].to_numpy()
    _check(path, events)
    return events, facts


def _check(path: Path, events: Events) -> None:
    """What judges them counts on it."""
    if len(events) and (
        events["slot"].max() >= max(LIMITS.values())
        or events["debt"].max() >= len(Debt)
        or events["what"].max() >= len(What)
    ):
        raise UsageError(f"{path} has events that cannot be: record it again.")


def name_of(facts: Facts, debt: Debt, slot: int) -> str:
    """The VM of a debtor, as an operator knows it; by its slot if none does."""
    vm = facts.owners.get(debt.name.lower(), {}).get(slot, slot)
    return facts.vms.get(vm, f"slot {slot}")
