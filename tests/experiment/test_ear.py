# SPDX-License-Identifier: Apache-2.0
"""What a design says, and what of it counts."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.demo.voice import Voice
from observer.errors import ProgramError
from observer.experiment.ear import Ear
from observer.experiment.observers import DETECTION
from observer.guests.waiting import wait_until
from observer.model import Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 10.0


@pytest.fixture
def design(tmp_path: Path) -> Iterator[tuple[Ear, Callable[[str], None], Path]]:
    """A design that says what it is told to, and its notes."""
    notes = tmp_path / "notes"
    notes.touch()
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cat:
        voice = Voice(cat, notes)

        def say(vm: str) -> None:
            now_ns = time.monotonic_ns()
            kind = VerdictKind.VMM_CRASHED
            event = Verdict("", now_ns, vm, "vmm", kind, now_ns, now_ns, "gone", "")
            assert cat.stdin
            cat.stdin.write(msgspec.json.encode(event).decode() + "\n")
            cat.stdin.flush()
            wait_until(lambda: bool(voice.since(now_ns)), SECONDS, f"{vm} was heard")

        yield Ear(DETECTION["polling-1s"], voice, 1, lambda _: None), say, notes
        cat.kill()


def test_a_guest_that_we_end_is_not_called_dead_wrongly(
    design: tuple[Ear, Callable[[str], None], Path],
) -> None:
    """Said late, it is no verdict on what comes next."""
    ear, say, notes = design
    ear.ends("web1")
    began_ns = time.monotonic_ns()
    say("web1")
    assert not ear.since(began_ns)
    say("db1")
    assert [v.vm for v in ear.since(began_ns)] == ["db1"]
    notes.write_text("vm: web1 (pid 7) is watched\n")
    ear.wait_until_watched("web1", 0)
    say("web1")
    assert [v.vm for v in ear.since(began_ns)] == ["db1", "web1"]


def test_a_guest_that_nobody_ended_may_not_be_called_dead(
    design: tuple[Ear, Callable[[str], None], Path],
) -> None:
    """Neither before its first life was watched nor after."""
    ear, say, notes = design
    say("web1")
    notes.write_text("vm: web1 (pid 7) is watched\n")
    ear.wait_until_watched("web1", 0)

    assert [v.vm for v in ear.since(0)] == ["web1"]


def test_one_that_ends_while_it_should_be_silent_is_found_out(
    design: tuple[Ear, Callable[[str], None], Path],
) -> None:
    """What is dead says nothing false."""
    ear, _, _ = design
    ear.hear_out(0.01)
    voice = ear.voice
    assert voice is not None
    voice.kill()

    with pytest.raises(ProgramError, match="It ended"):
        ear.hear_out(0.01)


def test_faults_come_at_a_moment_of_chance_in_a_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same for a seed, all over the period of the design."""
    waits: list[float] = []
    monkeypatch.setattr("observer.experiment.ear.time.sleep", waits.append)
    for _ in range(2):
        ear = Ear(DETECTION["polling-10s"], None, 1, lambda _: None)
        for _ in range(200):
            ear.wait_for_phase()

    assert waits[:200] == waits[200:]
    assert 0 <= min(waits) < 1
    assert 9 < max(waits) <= 10
