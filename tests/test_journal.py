# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import pytest

from observer.clock import SECOND
from observer.errors import HostError
from observer.journal import Journal, Unfinished
from observer.model import Repair, Result, Step, StepKind, Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEAD = Verdict("now", 7, "net", "net", VerdictKind.VMM_CRASHED, 3, 4, "gone", "", 42)
RESTART = Repair(DEAD, Step(StepKind.RESTART_SERVICE, SECOND), 2)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "state/journal.db", "this boot")
    yield made
    made.close()


def test_an_intention_outlives_who_had_it(journal: Journal, tmp_path: Path) -> None:
    """The next observer reads it though the last one never closed the file."""
    step = journal.intend(journal.found(DEAD), RESTART, 1, 100)

    after = Journal(tmp_path / "state/journal.db", "this boot")
    assert after.unfinished() == [
        Unfinished(1, DEAD, rung=1, attempt=2, step=StepKind.RESTART_SERVICE)
    ]
    after.step_ended(step, Result.REPAIRED, "", 200)
    assert [left.step for left in after.unfinished()] == [None]
    after.ended(1, Result.REPAIRED, "", 200)
    assert not journal.unfinished()
    after.close()


def test_a_verdict_without_a_step_is_unfinished_too(journal: Journal) -> None:
    """It waited for its turn."""
    number = journal.found(DEAD)

    assert journal.unfinished() == [
        Unfinished(number, DEAD, rung=0, attempt=0, step=None)
    ]


def test_another_boot_has_nothing_to_finish(journal: Journal, tmp_path: Path) -> None:
    """Its processes and its clock are gone; what happened stays written."""
    journal.intend(journal.found(DEAD), RESTART, 0, 100)
    after = Journal(tmp_path / "state/journal.db", "another boot")

    assert not after.unfinished()
    assert not after.begun_since(0)
    assert journal.begun_since(99) == [(100, "net")]
    after.close()


def test_a_repair_counts_once(journal: Journal) -> None:
    """However many steps it took, from the first of them."""
    number = journal.found(DEAD)
    for ns in (100, 300):
        journal.intend(number, RESTART, 0, ns)

    assert journal.begun_since(99) == [(100, "net")]
    assert not journal.begun_since(100)


def test_it_does_not_grow_for_ever(journal: Journal, tmp_path: Path) -> None:
    """The next observer forgets the oldest, with their steps."""
    for ns in range(10):
        journal.intend(journal.found(DEAD), RESTART, 0, ns)
    after = Journal(tmp_path / "state/journal.db", "this boot", kept=3)

    assert [left.id for left in after.unfinished()] == [8, 9, 10]
    assert sorted(after.begun_since(-1)) == [(7, "net"), (8, "net"), (9, "net")]
    after.close()


def test_it_is_nobody_elses_to_read(tmp_path: Path) -> None:
    """It names what runs on the host."""
    Journal(tmp_path / "journal.db", "this boot").close()

    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


def fill(journal: Journal) -> None:
    for _ in range(100):
        journal.found(DEAD)


def test_no_room_is_one_sentence(journal: Journal) -> None:
    """A file that may not grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(HostError, match=r"journal\.db cannot be used .*make room"):
            fill(journal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_file_that_is_none_of_ours_is_one_sentence(tmp_path: Path) -> None:
    """And stays as it is."""
    path = tmp_path / "journal.db"
    path.write_text("a diary\n" * 1000)

    with pytest.raises(HostError, match="cannot be used"):
        Journal(path, "this boot")
    assert path.read_text() == "a diary\n" * 1000
