# SPDX-License-Identifier: Apache-2.0
"""A server's observer in another address space: its failures are nobody's."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from observer.clock import SECOND
from observer.experiment.agents import AGENTS
from observer.experiment.cases import CASES, begin
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.programs import with_programs
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from observer.demo.voice import Voice
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(400)]

QUIET_SECONDS = 3.0
SAID_SECONDS = 20.0
SEGV, KILL = 11, 9


@contextmanager
def _orbited(
    spec: GuestSpec,
    image: GuestImage,
    design: Callable[..., AbstractContextManager[Voice]],
    folder: Path,
) -> Iterator[tuple[Voice, Guest]]:
    """A guest whose server is being checked, and the design that hears of it."""
    agent = AGENTS["orbit"]
    observed = with_programs(image, [agent.program], agent.start(), folder)
    with design("orbit/orbit.py") as voice, linux_guest(spec, observed) as guest:
        watched, checked = f"vm: {spec.name} ", "orbit checks every"
        wait_until(lambda: watched in voice.notes(), SAID_SECONDS, "it was seen")
        wait_until(lambda: checked in guest.console(), SAID_SECONDS, checked)
        yield voice, guest


def test_a_check_that_dies_or_hangs_harms_nobody_and_the_next_one_comes(
    image: GuestImage,
    design: Callable[..., AbstractContextManager[Voice]],
    tmp_path: Path,
) -> None:
    """By a null pointer, and by never ending; a vCPU that locks up is then seen."""
    spec = GuestSpec("orbited", subnet=42, vcpus=2)
    with _orbited(spec, image, design, tmp_path) as (voice, guest):
        for breaking, number in (("USR1", SEGV), ("USR2", KILL)):
            guest.order(f"signal {breaking} orbit")
            line = f"ended by signal {number}"
            wait_until(lambda line=line: line in guest.console(), SAID_SECONDS, line)
        assert voice.since(0) == []

        lockup = inject("vcpu-lockup", guest, GUEST_FAULTS)
        said = voice.wait(lambda _: True, SAID_SECONDS)
        assert said is not None
        assert (said.vm, said.subject) == ("orbited", "vcpu1")
        assert said.kind == VerdictKind.VCPU_HUNG
        assert lockup.effect_ns - SECOND < said.since_ns < said.monotonic_ns
        guest.order("ping")


def test_a_network_that_fails_is_seen_and_none_that_the_guest_took_down(
    image: GuestImage,
    design: Callable[..., AbstractContextManager[Voice]],
    tmp_path: Path,
) -> None:
    """Nothing while the guest has no way to its host; then its network loses a call."""
    spec = GuestSpec("netted", subnet=42)
    with (
        _orbited(spec, image, design, tmp_path) as (voice, guest),
        ExitStack() as stack,
    ):
        with inject("link-down", guest, GUEST_FAULTS):
            time.sleep(QUIET_SECONDS)
        time.sleep(QUIET_SECONDS)
        assert voice.since(0) == []

        effect_ns = begin(CASES["lost-call"], guest, stack)
        said = voice.wait(lambda _: True, SAID_SECONDS)
        assert said is not None
        assert (said.vm, said.subject) == ("netted", "net")
        assert said.kind == VerdictKind.BACKEND_HUNG
        assert effect_ns - SECOND < said.since_ns < said.monotonic_ns
