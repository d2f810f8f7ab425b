# SPDX-License-Identifier: Apache-2.0
"""What `observer replay` says of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from click.testing import CliRunner

from observer.cli.replay import replay
from observer.clock import MS
from observer.replay.event import EVENT, Debt, What
from observer.replay.recording import Facts, RecordingWriter

if TYPE_CHECKING:
    from pathlib import Path

FACTS = Facts(
    seconds=3600,
    vms={4: "web"},
    owners={"backend": {7: 4}},
    limits_ns={"backend": 20 * MS},
)


def record(path: Path) -> None:
    """A ring that is served after 1 ms, after 12 ms, and never."""
    events = np.zeros(6, EVENT)
    events["debt"], events["slot"] = Debt.BACKEND, 7
    events["what"] = [What.OPENED, What.PAID] * 2 + [What.OPENED, What.LOOKED]
    events["ns"] = np.array([0, 1, 10, 22, 30, 130]) * MS + 1
    events["clock_ns"] = events["ns"]
    with RecordingWriter(path) as writer:
        writer.append(events)
        writer.describe(FACTS)


def said(path: Path, *words: str) -> str:
    done = CliRunner().invoke(replay, [str(path), *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_hang_is_late_by_any_limit_and_a_slow_one_by_a_short_one(
    tmp_path: Path,
) -> None:
    """The slow one was paid: that would have been a suspicion for nothing."""
    path = tmp_path / "some.parquet"
    record(path)

    def backend(*words: str) -> dict[str, float]:
        lines = said(path, "-o", "jsonl", *words).splitlines()
        kinds = (msgspec.json.decode(line) for line in lines)
        return next(kind for kind in kinds if kind["debt"] == "backend")

    assert backend()["late"] == backend()["never_paid"] == 1
    assert (backend()["paid"], backend()["longest_ms"]) == (2, 12)
    short = backend("--limit", "backend=10ms")
    assert (short["late"], short["never_paid"]) == (2, 1)
    assert "web" in said(path)


def test_the_curve_says_what_a_limit_would_have_cost(tmp_path: Path) -> None:
    """In suspicions for nothing in an hour, and how much sooner it would have been."""
    path = tmp_path / "some.parquet"
    record(path)
    points = msgspec.json.decode(said(path, "--curve", "-o", "json"))

    assert {point["debt"] for point in points} == {"backend"}
    costs = {point["limit_ms"]: point["for_nothing_per_hour"] for point in points}
    gains = {point["limit_ms"]: point["sooner_ms"] for point in points}
    assert (costs[2], costs[5], costs[20], costs[50]) == (1, 1, 0, 0)
    assert (gains[5], gains[20]) == (15, 0)


def test_a_limit_that_is_none_is_refused(tmp_path: Path) -> None:
    """With the names that there are."""
    record(tmp_path / "some.parquet")
    for limit, word in (("disk=1ms", "vcpu, backend, called"), ("vcpu=1", "20ms")):
        done = CliRunner().invoke(
            replay, [str(tmp_path / "some.parquet"), "--limit", limit]
        )
        assert done.exit_code == 2
        assert word in done.output
