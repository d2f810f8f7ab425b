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

from observer.confirm.guest import NETWORK_DOWN
from observer.demo.voice import observer_running
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.inventory.vmm import program_of
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

PROC = Path("/proc")
NAME = "lost"
SECONDS = 60.0
LATER_SECONDS = 8  # asked ten times more rarely, it is asked again by then
TRIES = 4
CARE = """
[repair]
dry_run = false
care = ["lost"]
rates = { vm = 1000, host = 1000, window = "1m" }
[paths]
state = "STATE"
"""
RUNG = """
[[repair.ladders.{}]]
do = "{}"
deadline = "30s"
"""
"""In an emulated host that others load as well, a step may take long."""


@pytest.fixture(scope="module")
def guest(image: GuestImage) -> Iterator[Guest]:
    """One that lives through all of it."""
    with linux_guest(GuestSpec(NAME, subnet=34), image) as up:
        yield up


@contextmanager
def caring(folder: Path, kind: VerdictKind, *steps: StepKind) -> Iterator[Voice]:
    """An observer that mends what is wrong with the guest, and has seen it."""
    config = folder / "observer.toml"
    care = CARE.replace("STATE", str(folder / "state"))
    config.write_text(care + "".join(RUNG.format(kind, step) for step in steps))
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


def outcome_of(
    voice: Voice, kind: VerdictKind, subject: str, since_ns: int, seconds: float
) -> Outcome | None:
    """How a fault of a subject ended; others are of a host whose CPU somebody took."""
    return voice.wait_for_outcome(
        lambda o: (
            (o.kind, o.subject) == (kind, subject)
            and o.result is not Result.FAILED
            and o.monotonic_ns > since_ns
        ),
        seconds,
    )


def lose(fault: str, guest: Guest, heard: Callable[[int], Heard | None]) -> Heard:
    """Have one lost, until one is missed: `heard` tells it of what came since then.

    One that is lost in the moment in which the other end looks once more is not missed.
    """
    for _ in range(TRIES):
        since_ns = time.monotonic_ns()
        inject(fault, guest, GUEST_FAULTS)
        if (said := heard(since_ns)) is not None:
            return said
    raise AssertionError("none was missed")


def be_busy(guest: Guest) -> None:
    """It sends for ever; what it reads of its disk shows that a kick was lost."""
    guest.order("busy net")
    guest.order("busy disk")


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
        be_busy(guest)

        def heard(since_ns: int) -> Verdict | None:
            return voice.wait(
                lambda v: is_of_ring(v) and v.monotonic_ns > since_ns, SECONDS / TRIES
            )

        said = lose("lost-kick", guest, heard)
        assert (said.vm, said.kind) == (NAME, VerdictKind.BACKEND_HUNG)
        assert said.subject == f"vhost-{guest.pid}"

        stuck = sent(guest)
        plan = f"re-kick: kick transmit ring 1 of {NAME}, process {guest.pid}"
        assert plan in repair("--dry-run")
        assert not answers(guest), (said, voice.notes())
        assert sent(guest) == stuck

        ordered_ns = time.monotonic_ns()
        assert plan in repair()
        outcome = outcome_of(voice, said.kind, said.subject, ordered_ns, SECONDS)
        assert outcome is not None, voice.notes()
        assert (outcome.result, outcome.step) == (Result.REPAIRED, StepKind.RE_KICK)
        sends_again(guest)
        since = voice.since(said.monotonic_ns)
        assert [v for v in since if is_of_ring(v)] == [said]


@pytest.mark.parametrize("step", [StepKind.RE_KICK, StepKind.BOUNCE_LINK])
def test_a_lost_kick_is_made_up_for(
    guest: Guest, tmp_path: Path, step: StepKind
) -> None:
    """By a kick; or, where the policy says so, by a bounce of its link."""
    hung = VerdictKind.BACKEND_HUNG
    with caring(tmp_path, hung, step) as voice, spoken_to(guest):
        be_busy(guest)

        def heard(since_ns: int) -> Outcome | None:
            subject, seconds = f"vhost-{guest.pid}", SECONDS / TRIES
            return outcome_of(voice, hung, subject, since_ns, seconds)

        outcome = lose("lost-kick", guest, heard)
        by = outcome.result, outcome.step
        assert by == (Result.REPAIRED, step), f"{outcome.why} {voice.notes()}"
        sends_again(guest)


@pytest.mark.parametrize("work", ["idle", "busy disk"])
def test_a_guest_that_missed_a_call_is_called_again(
    guest: Guest, tmp_path: Path, work: str
) -> None:
    """It sleeps over what it was sent, idle or not; to be asked why is all it needs."""
    assert answers(guest)
    guest.order(work)
    hung = VerdictKind.GUEST_HUNG
    with caring(tmp_path, hung, StepKind.RESET_GUEST) as voice:

        def heard(since_ns: int) -> Outcome | None:
            assert answers(guest, round(SECONDS)), voice.notes()
            return outcome_of(voice, hung, "guest", since_ns, SECONDS / TRIES)

        outcome = lose("lost-call", guest, heard)
        assert (outcome.result, outcome.step) == (Result.RECOVERED, None)
        said = [v.evidence for v in voice.since(0) if v.kind is hung]
        assert all("called again" in evidence for evidence in said), said
    guest.order("idle")


@pytest.mark.parametrize("work", ["idle", "busy disk"])
def test_a_network_that_the_guest_took_down_is_no_failure(
    guest: Guest, tmp_path: Path, work: str
) -> None:
    """It takes nothing that it is sent, for it wants none; until it is up again."""
    assert answers(guest)
    guest.order(work)
    with caring(tmp_path, VerdictKind.GUEST_HUNG, StepKind.RESET_GUEST) as voice:
        with inject("link-down", guest, GUEST_FAULTS):
            assert not answers(guest)
            wait_until(lambda: NETWORK_DOWN in voice.notes(), SECONDS, "it was seen")
            assert not answers(guest, LATER_SECONDS)
        assert answers(guest, round(SECONDS))
        assert not voice.since(0)
    guest.order("idle")


def test_a_back_end_that_was_stopped_goes_on(guest: Guest, tmp_path: Path) -> None:
    """A process that serves the guest's disk; that a kick does not help it is seen."""
    since_ns, hung = time.monotonic_ns(), VerdictKind.BACKEND_HUNG
    with (
        caring(tmp_path, hung, StepKind.RE_KICK, StepKind.CONTINUE) as voice,
        inject("backend-hang", guest, GUEST_FAULTS),
    ):
        name = program_of(PROC, guest.disk_pid)
        outcome = outcome_of(voice, hung, name, since_ns, SECONDS)
        assert outcome is not None, voice.notes()
        by = outcome.result, outcome.step
        assert by == (Result.REPAIRED, StepKind.CONTINUE), voice.outcomes()
