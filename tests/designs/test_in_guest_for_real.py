# SPDX-License-Identifier: Apache-2.0
"""The watchdog in a guest: what it sees, and that it dies with its guest."""

from __future__ import annotations

import time
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

QUIET_SECONDS = 3.0
SAID_SECONDS = 20.0


def test_a_watchdog_sees_parts_of_its_guest_fail_and_not_the_whole(
    image: GuestImage,
    design: Callable[..., AbstractContextManager[Voice]],
    tmp_path: Path,
) -> None:
    """Not a network that it took down; a hung disk, twice; a vCPU; no panic of all."""
    agent = AGENTS["in-guest"]
    watched = with_programs(image, [agent.program], agent.start(), tmp_path)
    spec = GuestSpec("inside", subnet=41, vcpus=2)
    with design("in_guest/in_guest.py") as voice, linux_guest(spec, watched) as guest:
        wait_until(lambda: "vm: inside " in voice.notes(), SAID_SECONDS, "it was seen")
        with inject("link-down", guest, GUEST_FAULTS):
            time.sleep(QUIET_SECONDS)
        time.sleep(QUIET_SECONDS)
        assert voice.since(0) == []

        for _ in range(2):
            with inject("backend-hang", guest, GUEST_FAULTS) as hang:
                said = voice.wait(
                    lambda v, at=hang.effect_ns: v.monotonic_ns > at, SAID_SECONDS
                )
                assert said is not None
                assert (said.vm, said.kind) == ("inside", VerdictKind.BACKEND_HUNG)
                assert said.subject == "disk"
                assert said.since_ns > hang.effect_ns - SECOND
            guest.order("ping")
        before = len(voice.since(0))

        lockup = inject("vcpu-lockup", guest, GUEST_FAULTS)
        said = voice.wait(lambda v: v.subject == "vcpu1", SAID_SECONDS)
        assert said is not None
        assert said.kind == VerdictKind.VCPU_HUNG
        assert lockup.effect_ns - SECOND < said.since_ns < said.monotonic_ns

        inject("guest-panic", guest, GUEST_FAULTS)
        time.sleep(QUIET_SECONDS)
        assert len(voice.since(0)) == before + 1
