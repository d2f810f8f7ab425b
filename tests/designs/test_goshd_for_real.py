# SPDX-License-Identifier: Apache-2.0
"""HyperTap's rule on a stock host: by whose exits a vCPU is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.clock import SECOND
from observer.experiment.exit_counter import OWN, ExitCounter, vcpu_threads
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from observer.demo.voice import Voice
    from observer.guests.images import GuestImage

pytestmark = [
    pytest.mark.nested,
    pytest.mark.vm,
    pytest.mark.newest,
    pytest.mark.timeout(300),
]

SEEN_SECONDS, QUIET_SECONDS, SAID_SECONDS = 20.0, 6.0, 15.0


def test_a_vcpu_hangs_that_makes_no_exits_of_its_own(
    image: GuestImage, design: Callable[..., AbstractContextManager[Voice]]
) -> None:
    """The other one goes on; one that spins is left by the host's interrupts alone."""
    spec = GuestSpec("hyper", subnet=43, vcpus=2)
    with design("goshd/goshd.py") as voice, linux_guest(spec, image) as guest:
        wait_until(lambda: "vm: hyper " in voice.notes(), SEEN_SECONDS, "it was seen")
        counters = {
            n: ExitCounter(thread, OWN) for n, thread in vcpu_threads(guest.pid)
        }
        assert sorted(counters) == [0, 1]
        assert voice.wait(lambda _: True, QUIET_SECONDS) is None
        assert all(counter.read() > 0 for counter in counters.values())

        broken = inject("vcpu-lockup", guest, GUEST_FAULTS)
        still = counters[1].read()
        said = voice.wait(lambda _: True, SAID_SECONDS)
        assert said is not None
        assert (said.vm, said.kind) == ("hyper", VerdictKind.VCPU_HUNG)
        assert said.subject == "vcpu1"
        assert said.monotonic_ns - broken.effect_ns > 3 * SECOND
        assert counters[1].read() == still
        for counter in counters.values():
            counter.close()
