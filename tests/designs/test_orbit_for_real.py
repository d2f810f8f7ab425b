# SPDX-License-Identifier: Apache-2.0
"""A server's observer in another address space: its failures are nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.clock import SECOND
from observer.experiment.agents import AGENTS
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.programs import with_programs
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from observer.demo.voice import Voice
    from observer.guests.images import GuestImage

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(400)]

SAID_SECONDS = 20.0
DIES, HANGS = 22, 24  # after those that measure what one costs
SEGV, KILL = 11, 9


def test_a_check_that_dies_or_hangs_harms_nobody_and_the_next_one_comes(
    image: GuestImage,
    design: Callable[..., AbstractContextManager[Voice]],
    tmp_path: Path,
) -> None:
    """By a null pointer, and by never ending; a vCPU that locks up is then seen."""
    agent = AGENTS["orbit"]
    start = agent.start(f"check-dies={DIES} check-hangs={HANGS}")
    observed = with_programs(image, [agent.program], start, tmp_path)
    spec = GuestSpec("orbited", subnet=42, vcpus=2)
    with design("orbit/orbit.py") as voice, linux_guest(spec, observed) as guest:
        wait_until(lambda: "vm: orbited " in voice.notes(), SAID_SECONDS, "it was seen")
        for check, number in ((DIES, SEGV), (HANGS, KILL)):
            line = f"orbit check {check} ended by signal {number}"
            wait_until(lambda line=line: line in guest.console(), SAID_SECONDS, line)
        assert voice.since(0) == []

        lockup = inject("vcpu-lockup", guest, GUEST_FAULTS)
        said = voice.wait(lambda _: True, SAID_SECONDS)
        assert said is not None
        assert (said.vm, said.subject) == ("orbited", "vcpu1")
        assert said.kind == VerdictKind.VCPU_HUNG
        assert lockup.effect_ns - SECOND < said.since_ns < said.monotonic_ns
        guest.order("ping")
