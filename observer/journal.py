# SPDX-License-Identifier: Apache-2.0
"""What was found, what was intended and what came of it, in SQLite.

An intention is written before its act, so that an observer that dies in the middle of a
repair knows, when it is started again, what it had begun.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from observer.database import Database
from observer.model import Repair, Result, StepKind, Verdict

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
_FORGET = "delete from verdicts where id <= (select max(id) from verdicts) - ?"


class Unfinished(msgspec.Struct, frozen=True):
    """A repair that was not over when its observer died, and the last step begun."""

    id: int
    verdict: Verdict
    rung: int
    attempt: int
    step: StepKind | None
    """The one that it died in; None: between two."""


def boot_id(proc: Path = Path("/proc")) -> str:
    """The kernel's name for the time since this host was started."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


class Journal:
    """One file, one writer: the daemon that holds the host's lock."""

    def __init__(self, path: Path, boot: str, kept: int = KEPT) -> None:
        self._boot, self._rows = boot, Database(path, _SCHEMA)
        self._rows.write(_FORGET, kept)

    def found(self, verdict: Verdict) -> int:
        """Write a verdict whose repair begins; its number."""
        return self._rows.write(
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
        return self._rows.write(
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
        self._rows.write(
            "update steps set ended_ns = ?, result = ?, why = ? where id = ?",
            now_ns,
            result,
            why,
            step,
        )

    def ended(self, verdict: int, result: Result, why: str, now_ns: int) -> None:
        """Write what came of the whole repair."""
        self._rows.write(
            "update verdicts set ended_ns = ?, result = ?, why = ? where id = ?",
            now_ns,
            result,
            why,
            verdict,
        )

    def unfinished(self) -> list[Unfinished]:
        """Repairs of this boot that are not over, the oldest first."""
        rows = self._rows.read(
            "select v.id, v.body, coalesce(s.rung, 0), coalesce(s.attempt, 0), "
            "case when s.ended_ns is null then s.step end "
            "from verdicts v left join steps s on s.id = "
            "(select max(id) from steps where verdict = v.id) "
            "where v.boot = ? and v.ended_ns is null order by v.id",
            self._boot,
        )
        return [
            Unfinished(
                number,
                msgspec.json.decode(body, type=Verdict),
                rung,
                attempt,
                StepKind(step) if step else None,
            )
            for number, body, rung, attempt, step in rows
        ]

    def begun_since(self, since_ns: int) -> list[tuple[int, str]]:
        """When the first step of a repair was begun, and of which VM, in this boot."""
        return [
            (int(begun_ns), str(vm))
            for begun_ns, vm in self._rows.read(
                "select min(s.begun_ns), v.vm from steps s "
                "join verdicts v on v.id = s.verdict where v.boot = ? "
                "group by v.id having min(s.begun_ns) > ?",
                self._boot,
                since_ns,
            )
        ]

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()
