# SPDX-License-Identifier: Apache-2.0
"""A SQLite file of the daemon: one writer, one sentence for what goes wrong."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Database"]


class Database:
    """Each statement is committed when it returns; HostError if it cannot be."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        with self._in_a_sentence():
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._file = sqlite3.connect(path, isolation_level=None)
            # Enough for a process that dies; after a host that does the last may miss.
            self._file.execute("pragma journal_mode = wal")
            self._file.execute("pragma synchronous = normal")
            self._file.execute("pragma foreign_keys = on")
            self._file.executescript(schema)

    @contextmanager
    def _in_a_sentence(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            raise HostError(
                f"{self._path} cannot be used ({e}): make room for it or mend it, for "
                "what cannot be written down first is not done."
            ) from e

    def write(self, words: str, *values: object) -> int:
        """The number of the row that was inserted last."""
        with self._in_a_sentence():
            return self._file.execute(words, values).lastrowid or 0

    def write_all(self, words: str, rows: Iterable[tuple[object, ...]]) -> None:
        """The same for many rows."""
        with self._in_a_sentence():
            self._file.executemany(words, rows)

    def read(self, words: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows."""
        with self._in_a_sentence():
            return self._file.execute(words, values).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
