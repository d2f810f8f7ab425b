# SPDX-License-Identifier: Apache-2.0
"""A VM beside each guest: what it sees in the memory of those that fail."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from observer.guests.launch import GuestSpec
from observer.guests.linux import starting_guest, wait_for_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from observer.demo.voice import Voice
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage

pytestmark = [
    pytest.mark.nested,
    pytest.mark.vm,
    pytest.mark.newest,
    pytest.mark.timeout(400),
]

WATCHED_SECONDS, SAID_SECONDS, QUIET_SECONDS = 60.0, 10.0, 2.0


def _responders() -> bool:
    argv = ["pgrep", "-f", "guest=responder-"]
    return not subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode


@contextmanager
def _two_guests(image: GuestImage) -> Iterator[tuple[Guest, Guest]]:
    """Two that are up, which boot side by side."""
    with ExitStack() as stack:
        specs = [GuestSpec(f"seen{k}", subnet=210 + k) for k in range(2)]
        one, other = (
            stack.enter_context(starting_guest(spec, image)) for spec in specs
        )
        for guest in (one, other):
            wait_for_guest(guest)
        yield one, other


def test_a_guest_that_fails_is_seen_in_its_memory(
    image: GuestImage,
    design: Callable[..., AbstractContextManager[Voice]],
) -> None:
    """A quiet one and a paused one are well; one that panics or spins is not."""
    with (
        design("vm_per_vm/vm_per_vm.py") as voice,
        _two_guests(image) as guests,
    ):
        panics, spins = guests
        wait_until(
            lambda: all(f"vm: {guest.name} (" in voice.notes() for guest in guests),
            WATCHED_SECONDS,
            "both were watched",
        )
        with inject("paused", spins, GUEST_FAULTS):
            assert voice.wait(lambda _: True, QUIET_SECONDS) is None
        assert voice.wait(lambda _: True, QUIET_SECONDS) is None

        for guest, fault in ((panics, "guest-panic"), (spins, "guest-irqoff-spin")):
            broken = inject(fault, guest, GUEST_FAULTS)
            said = voice.wait(lambda v, vm=guest.name: v.vm == vm, SAID_SECONDS)
            assert said is not None
            assert (said.kind, said.subject) == (VerdictKind.GUEST_HUNG, "guest")
            assert said.monotonic_ns > broken.effect_ns
        assert len(voice.since(0)) == 2
        assert _responders()
    assert not _responders()
