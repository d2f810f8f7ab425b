# SPDX-License-Identifier: Apache-2.0
"""What a guest does last of all, and what only looks like that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from observer.clock import MS
from observer.demo.voice import observer_running
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observer.demo.voice import Voice
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(300)]

SECONDS = 60.0
SOON_MS = 250.0
"""Less than the silence after which any guest is asked; some 20 and 100 are usual."""


@pytest.fixture(params=[2])
def watched(
    request: pytest.FixtureRequest, image: GuestImage, tmp_path: Path
) -> Iterator[tuple[Guest, Voice]]:
    """A guest, with two vCPUs unless said, beside a daemon."""
    with (
        linux_guest(GuestSpec("ends", subnet=37, vcpus=request.param), image) as guest,
        observer_running(tmp_path / "log") as voice,
    ):
        wait_until(lambda: "vm: ends " in voice.notes(), SECONDS, "it was seen")
        yield guest, voice


@pytest.mark.parametrize(
    ("watched", "fault", "evidence"),
    [
        (2, "guest-halt", "all 2 vCPUs have halted with interrupts off"),
        # a second one would answer until the first has shown its stack, half a second
        (1, "guest-panic", "its console says that its kernel panics"),
    ],
    indirect=["watched"],
)
def test_an_end_is_seen_before_the_guest_is_missed(
    watched: tuple[Guest, Voice], fault: str, evidence: str
) -> None:
    """By its last acts; it is not waited for until it was silent for long."""
    guest, voice = watched
    with inject(fault, guest, GUEST_FAULTS) as done:
        verdict = voice.wait(lambda v: v.kind == VerdictKind.GUEST_HUNG, SECONDS)

    assert verdict is not None
    assert evidence in verdict.evidence
    assert (verdict.monotonic_ns - done.effect_ns) / MS < SOON_MS


def test_one_vcpu_of_two_is_no_end_and_neither_are_words(
    watched: tuple[Guest, Voice],
) -> None:
    """A vCPU that was taken offline has halted for good, and anybody can say so."""
    guest, voice = watched
    began_ns = time.monotonic_ns()
    guest.order("offline 1")
    wait_until(
        lambda: "ends: not all of its vCPUs halted" in voice.notes(),
        SECONDS,
        "the vCPU that went was looked at",
    )
    guest.order("say Kernel panic - not syncing: says a user")
    wait_until(
        lambda: "ends: it consumed what it was sent" in voice.notes(),
        SECONDS,
        "it answered",
    )
    guest.order("ping")

    assert voice.since(began_ns) == []
