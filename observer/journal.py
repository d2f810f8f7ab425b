# SPDX-License-Identifier: Apache-2.0
"""What was found, what was intended and what came of it, in SQLite.

An intention is written before its act, so that an observer that dies in the middle of a
repair knows, when it is started again, what it had begun.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import HostError
from observer.model import Repair, Result, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Journal", "Unfinished", "boot_id"]

_SCHEMA = """
create table if not exists verdicts (
    id integer primary key,
    boot text not null,        -- monotonic times and pids mean something within it
    time text not null,
    vm text not null,
    subject text not null,
    kind text not null,
    body text not null,        -- the verdict, in JSON
    ended_ns integer,          -- null: its repair is not over
    result text,
    why text
);
create table if not exists steps (
    id integer primary key,
    verdict integer not null references verdicts (id) on delete cascade,
    step text not null,
    attempt integer not null,
    rung integer not null,
    begun_ns integer not null,
    ended_ns integer,          -- null: not over, or who began it died
    result text,
    why text
);
create index if not exists unfinished on verdicts (boot) where ended_ns is null;
create index if not exists begun on steps (begun_ns);
create index if not exists of_verdict on steps (verdict);
"""

KEPT = 10_000
"""So many verdicts are remembered, with their steps."""
_FORGET = """
pragma foreign_keys = on;
delete from verdicts where id <= (select max(id) from verdicts) - {kept};
"""


class Unfinished(msgspec.Struct, frozen=True):
    """A repair that was not over when its observer died, and the last step begun."""

    id: int
    verdict: Verdict
    rung: int
    attempt: int


def boot_id(proc: Path = Path("/proc")) -> str:
    """The kernel's name for the time since this host was started."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


class Journal:
    """One file, one writer: the daemon that holds the host's lock."""

    def __init__(self, path: Path, boot: str, kept: int = KEPT) -> None:
        self._path, self._boot = path, boot
        with self._in_a_sentence():
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._file = sqlite3.connect(path, isolation_level=None)
            # Enough for a process that dies; a host that does has nothing to finish.
            self._file.execute("pragma journal_mode = wal")
            self._file.execute("pragma synchronous = normal")
            self._file.executescript(_SCHEMA)
            self._file.executescript(_FORGET.format(kept=kept))

    @contextmanager
    def _in_a_sentence(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            raise HostError(
                f"The journal {self._path} cannot be used ({e}): make room or mend "
                "it; nothing is repaired that cannot be written down first."
            ) from e

    def _write(self, words: str, *values: object) -> int:
        with self._in_a_sentence():
            return self._file.execute(words, values).lastrowid or 0

    def found(self, verdict: Verdict) -> int:
        """Write a verdict whose repair begins; its number."""
        return self._write(
            "insert into verdicts (boot, time, vm, subject, kind, body) "
            "values (?, ?, ?, ?, ?, ?)",
            self._boot,
            verdict.time,
            verdict.vm,
            verdict.subject,
            verdict.kind,
            msgspec.json.encode(verdict).decode(),
        )

    def intend(self, verdict: int, repair: Repair, rung: int, now_ns: int) -> int:
        """Write the step that is about to be taken; its number."""
        return self._write(
            "insert into steps (verdict, step, attempt, rung, begun_ns) "
            "values (?, ?, ?, ?, ?)",
            verdict,
            repair.step.do,
            repair.attempt,
            rung,
            now_ns,
        )

    def step_ended(self, step: int, result: Result, why: str, now_ns: int) -> None:
        """Write what came of a step."""
        self._write(
            "update steps set ended_ns = ?, result = ?, why = ? where id = ?",
            now_ns,
            result,
            why,
            step,
        )

    def ended(self, verdict: int, result: Result, why: str, now_ns: int) -> None:
        """Write what came of the whole repair."""
        self._write(
            "update verdicts set ended_ns = ?, result = ?, why = ? where id = ?",
            now_ns,
            result,
            why,
            verdict,
        )

    def unfinished(self) -> list[Unfinished]:
        """Repairs of this boot that are not over, the oldest first."""
        with self._in_a_sentence():
            rows = self._file.execute(
                "select v.id, v.body, coalesce(s.rung, 0), coalesce(s.attempt, 0) "
                "from verdicts v left join steps s on s.id = "
                "(select max(id) from steps where verdict = v.id) "
                "where v.boot = ? and v.ended_ns is null order by v.id",
                (self._boot,),
            ).fetchall()
        return [
            Unfinished(number, msgspec.json.decode(body, type=Verdict), rung, attempt)
            for number, body, rung, attempt in rows
        ]

    def begun_since(self, since_ns: int) -> list[tuple[int, str]]:
        """When the first step of a repair was begun, and of which VM, in this boot."""
        with self._in_a_sentence():
            return self._file.execute(
                "select min(s.begun_ns), v.vm from steps s "
                "join verdicts v on v.id = s.verdict where v.boot = ? "
                "group by v.id having min(s.begun_ns) > ?",
                (self._boot, since_ns),
            ).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
