# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.errors import ProgramError, UsageError
from observer.guests.guest import Guest
from observer.guests.images import GuestImage
from observer.guests.launch import Files, GuestSpec
from observer.inject.injection import Fault, inject

GUEST = Guest(GuestSpec("a"), Files(Path("/run/a")), GuestImage("", ""))


def _fault(undone, *, fail=False, **kwargs):
    def begin(_guest, stack):
        stack.callback(undone.append, "undone")
        if fail:
            raise ProgramError("half done")
        return 42

    return {"f": Fault("Break {guest.name}.", begin, **kwargs)}


def test_an_injection_knows_its_time_and_undoes_itself_once():
    """Leaving the block undoes; a second undoing does nothing."""
    undone = []

    with inject("f", GUEST, _fault(undone)) as injection:
        assert (injection.effect_ns, injection.subject) == (42, "a")
        assert undone == []
    injection.undo()

    assert undone == ["undone"]


def test_what_was_half_done_is_undone():
    """A fault that could not be completed leaves nothing behind."""
    undone = []

    with pytest.raises(ProgramError, match="half done"):
        inject("f", GUEST, _fault(undone, fail=True))

    assert undone == ["undone"]


def test_a_guest_too_small_is_refused_before_anything_is_done():
    """One of several vCPUs cannot hang where there is one."""
    undone = []

    with pytest.raises(UsageError, match="has 1 vCPU"):
        inject("f", GUEST, _fault(undone, least_vcpus=2))

    assert undone == []


def test_a_plan_names_the_guest():
    """A dry run says what would be done to whom."""
    assert _fault([])["f"].planned(GUEST) == "Break a."
