# SPDX-License-Identifier: Apache-2.0
"""The rules of the comparators that are programs of their own."""

from __future__ import annotations

import pytest
from experiment_program import program
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import SECOND
from observer.inventory.task import ABSENT, TaskLook
from observer.model import VerdictKind

RUNS = TaskLook("S", exiting=False, start_ticks=1, runtime_ns=0, waited_ns=0)
STOPS = TaskLook("T", exiting=False, start_ticks=1, runtime_ns=0, waited_ns=0)


polling = program("polling/polling.py")
goshd = program("goshd/goshd.py")


@pytest.mark.parametrize(
    ("sight", "kind", "is_certain"),
    [
        ((RUNS, True, RUNS), None, False),
        ((RUNS, True, RUNS, "paused"), None, False),
        ((ABSENT, False, ABSENT), VerdictKind.VMM_CRASHED, True),
        ((STOPS, False, RUNS), VerdictKind.VMM_STOPPED, False),
        ((RUNS, False, RUNS), VerdictKind.VMM_HUNG, False),
        ((RUNS, True, ABSENT), VerdictKind.BACKEND_CRASHED, True),
        ((RUNS, True, STOPS), VerdictKind.BACKEND_HUNG, False),
        ((RUNS, True, RUNS, "guest-panicked"), VerdictKind.GUEST_HUNG, False),
    ],
)
def test_what_a_poll_finds(
    sight: tuple[object, ...], kind: VerdictKind | None, *, is_certain: bool
) -> None:
    """The gravest that there is; a VM that somebody paused is well."""
    found = polling.finding(polling.Sight(*sight))

    assert (found.kind if found else None) == kind
    assert (found is not None and found.is_certain) == is_certain


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 3)), max_size=40)
)
def test_a_vcpu_hangs_after_four_seconds_without_activity(
    looks: list[tuple[bool, bool, int]],
) -> None:
    """Said once for each time that it lasted so long; a halt counts as activity."""
    state = goshd.Activity(goshd.Counts(0, halts=False), 0)
    own, now, quiet_since, said = 0, 0, 0, False
    for moves, halts, seconds in looks:
        now, own = now + seconds, own + moves
        state, is_due = goshd.watched(
            state, goshd.Counts(own, halts=halts), now * SECOND
        )
        if moves or halts:
            quiet_since, said = now, False
        wanted = not said and now - quiet_since >= goshd.LIMIT_NS / SECOND
        assert is_due == wanted
        said |= wanted
