# SPDX-License-Identifier: Apache-2.0
"""What a design says, and what of it counts."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.demo.voice import Voice
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
    """Said late, it is no verdict on what comes next, and cuts no waiting short."""
    ear, say, notes = design
    ear.ends("web1")
    began_ns = time.monotonic_ns()
    say("web1")
    ear.listen(began_ns, 0.05)

    assert time.monotonic_ns() - began_ns > 0.05 * 1e9
    assert not ear.since(began_ns)
    say("db1")
    ear.listen(began_ns, SECONDS)
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
