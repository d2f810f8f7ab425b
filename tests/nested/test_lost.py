# SPDX-License-Identifier: Apache-2.0
"""What one end of a ring did not hear is told to it again, on a guest that lost it.

Without that it would be lost for good: with EVENT_IDX nobody tells twice.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.demo.voice import observer_running
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.model import Result, StepKind, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from observer.demo.voice import Voice
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage
    from observer.model import Outcome, Verdict

    Heard = TypeVar("Heard")

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(400)]

NAME = "lost"
SECONDS = 30.0
TRIES = 3
CARE = """
[repair]
dry_run = false
care = ["lost"]
rates = { vm = 1000, host = 1000, window = "1m" }
[paths]
state = "STATE"
"""
BOUNCE = """
[[repair.ladders.backend-hung]]
do = "bounce-link"
deadline = "5s"
"""


@pytest.fixture(scope="module")
def guest(image: GuestImage) -> Iterator[Guest]:
    """One that lives through all of it."""
    with linux_guest(GuestSpec(NAME), image) as up:
        yield up


@contextmanager
def caring(folder: Path, more: str = "") -> Iterator[Voice]:
    """An observer that mends the guest, and has seen it."""
    config = folder / "observer.toml"
    config.write_text(CARE.replace("STATE", str(folder / "state")) + more)
    with observer_running(folder / "log", "--config", str(config)) as voice:
        wait_until(lambda: f"vm: {NAME} " in voice.notes(), SECONDS, "it was seen")
        yield voice


@contextmanager
def spoken_to(guest: Guest) -> Iterator[None]:
    """Somebody asks the guest something ten times a second, answered or not."""
    argv = ["busybox", "ping", "-q", "-i", "0.1", guest.spec.guest_address]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def answers(guest: Guest, seconds: int = 1) -> bool:
    """Whether a question comes there, and its answer back."""
    wait = "-c", "1", "-W", str(seconds)
    argv = ["busybox", "ping", "-q", *wait, guest.spec.guest_address]
    return not subprocess.run(argv, capture_output=True, check=False).returncode


def sent(guest: Guest) -> int:
    """Frames that came from the guest, as its tap counts them."""
    return int(Path(f"/sys/class/net/{guest.tap}/statistics/rx_packets").read_text())


def is_of_ring(verdict: Verdict) -> bool:
    """Whether it says that the guest's network stands still for want of a kick.

    Where others leave the worker no CPU it is said of that, and it goes on by itself.
    """
    return "transmit ring 1" in verdict.evidence and "no kick" in verdict.evidence


def of(kind: VerdictKind) -> Callable[[Outcome], bool]:
    """Outcomes of such verdicts; others are of a host whose CPU somebody else took."""
    return lambda outcome: outcome.kind is kind


def lose_kick(guest: Guest, heard: Callable[[float], Heard | None]) -> Heard:
    """While it sends; it sends nothing more.  What it reads of its disk shows it.

    One that is lost in the moment in which its back end looks once more is not missed.
    """
    guest.order("busy net")
    guest.order("busy disk")
    for _ in range(TRIES):
        inject("lost-kick", guest, GUEST_FAULTS)
        if (said := heard(SECONDS / TRIES)) is not None:
            return said
    raise AssertionError("no kick was missed")


def repair(*words: str) -> str:
    argv = [sys.executable, "-m", "observer", "repair", NAME, *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert not done.returncode, done.stderr
    return done.stdout


def sends_again(guest: Guest) -> None:
    before = sent(guest)
    wait_until(lambda: sent(guest) > before + 20, SECONDS, "it sent again")
    guest.order("busy off")
    assert answers(guest)


def test_a_lost_kick_is_found_and_made_up_for_by_hand(
    guest: Guest, tmp_path: Path
) -> None:
    """Nothing leaves the guest until an operator has its ring kicked again."""
    with observer_running(tmp_path / "log") as voice, spoken_to(guest):
        wait_until(lambda: f"vm: {NAME} " in voice.notes(), SECONDS, "it was seen")
        said = lose_kick(guest, lambda s: voice.wait(is_of_ring, s))
        assert (said.vm, said.kind) == (NAME, VerdictKind.BACKEND_HUNG)
        assert said.subject == f"vhost-{guest.pid}"

        stuck = sent(guest)
        plan = f"re-kick: kick transmit ring 1 of {NAME}, process {guest.pid}"
        assert plan in repair("--dry-run")
        assert not answers(guest), (said, voice.notes())
        assert sent(guest) == stuck

        assert plan in repair()
        outcome = voice.wait_for_outcome(of(VerdictKind.BACKEND_HUNG), SECONDS)
        assert outcome is not None, voice.notes()
        assert (outcome.result, outcome.step) == (Result.REPAIRED, StepKind.RE_KICK)
        sends_again(guest)
        assert len([v for v in voice.since(0) if is_of_ring(v)]) == 1


@pytest.mark.parametrize("ladder", ["", BOUNCE])
def test_a_lost_kick_is_made_up_for(guest: Guest, tmp_path: Path, ladder: str) -> None:
    """By a kick; or, where the policy says so, by a bounce of its link."""
    step = StepKind.BOUNCE_LINK if ladder else StepKind.RE_KICK
    with caring(tmp_path, ladder) as voice, spoken_to(guest):
        hung = of(VerdictKind.BACKEND_HUNG)
        outcome = lose_kick(guest, lambda s: voice.wait_for_outcome(hung, s))
        assert (outcome.result, outcome.step) == (Result.REPAIRED, step), voice.notes()
        sends_again(guest)


def test_a_lost_call_is_made_up_for(guest: Guest, tmp_path: Path) -> None:
    """A guest that sleeps over what it was sent is called again."""
    assert answers(guest)
    with caring(tmp_path) as voice:
        inject("lost-call", guest, GUEST_FAULTS)
        assert answers(guest, round(SECONDS)), voice.notes()
        answered_ns = time.monotonic_ns()
        outcome = voice.wait_for_outcome(of(VerdictKind.GUEST_HUNG), SECONDS)
        assert outcome is not None, voice.notes()
        by = outcome.result, outcome.step
        assert by == (Result.REPAIRED, StepKind.RE_CALL), voice.notes()
        verdict = voice.wait(lambda v: v.kind is VerdictKind.GUEST_HUNG, 0)
        assert verdict is not None
        assert answered_ns > verdict.monotonic_ns


def test_a_back_end_that_was_stopped_goes_on(guest: Guest, tmp_path: Path) -> None:
    """A process that serves the guest's disk."""
    with (
        caring(tmp_path) as voice,
        inject("backend-hang", guest, GUEST_FAULTS),
    ):
        outcome = voice.wait_for_outcome(
            lambda o: (o.kind, o.result) == (VerdictKind.BACKEND_HUNG, Result.REPAIRED),
            SECONDS,
        )
        assert outcome is not None, voice.notes()
        assert outcome.step is StepKind.CONTINUE, voice.outcomes()
