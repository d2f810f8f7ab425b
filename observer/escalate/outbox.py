# SPDX-License-Identifier: Apache-2.0
"""Letters that wait to be delivered, in SQLite: they outlive whoever wrote them.

Each address gets its letters in order; one that cannot be reached holds up no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.database import Database
from observer.escalate.alert import Letter

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Outbox"]

_SCHEMA = """
create table if not exists letters (
    id integer primary key,
    address text not null,
    letter text not null,
    written real not null,   -- seconds since 1970
    tries integer not null default 0,
    due real not null
);
create index if not exists in_order on letters (address, id);
"""
LONGEST_PAUSE_SECONDS = 300.0
KEPT_SECONDS = 24 * 3600.0
MOST_LETTERS = 10_000


class Outbox:
    """One file, one writer."""

    def __init__(self, path: Path) -> None:
        self._rows = Database(path, _SCHEMA)

    def put(self, letters: list[Letter], now: float) -> None:
        """Take letters; where too many wait already the oldest are given up."""
        rows = [
            (" ".join(x.to), msgspec.json.encode(x).decode(), now, now) for x in letters
        ]
        self._rows.write_all(
            "insert into letters (address, letter, written, due) values (?, ?, ?, ?)",
            rows,
        )
        self._rows.write(
            "delete from letters where written < ? or id <= "
            "(select id from letters order by id desc limit 1 offset ?)",
            now - KEPT_SECONDS,
            MOST_LETTERS,
        )

    def withdraw(self, letters: list[Letter]) -> None:
        """Take back those that are not delivered yet."""
        rows = [(msgspec.json.encode(x).decode(),) for x in letters]
        self._rows.write_all("delete from letters where letter = ?", rows)

    def due(self, now: float) -> list[tuple[int, Letter]]:
        """The oldest letter of each address, where its time has come."""
        rows = self._rows.read(
            "select id, letter from letters where id in "
            "(select min(id) from letters group by address) and due <= ?",
            now,
        )
        return [(n, msgspec.json.decode(body, type=Letter)) for n, body in rows]

    def next_due(self) -> float | None:
        """When the next one's time comes; None: there is none."""
        ((due,),) = self._rows.read(
            "select min(due) from letters where id in "
            "(select min(id) from letters group by address)"
        )
        return None if due is None else float(due)

    def done(self, number: int) -> None:
        """It was delivered, or never will be."""
        self._rows.write("delete from letters where id = ?", number)

    def put_off(self, number: int, now: float) -> None:
        """Try it again: after 2 s, 4 s, 8 s and so on."""
        self._rows.write(
            "update letters set tries = tries + 1, "
            "due = ? + min(?, 1 << min(tries + 1, 20)) where id = ?",
            now,
            LONGEST_PAUSE_SECONDS,
            number,
        )

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()
