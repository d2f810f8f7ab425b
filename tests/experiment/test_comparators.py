# SPDX-License-Identifier: Apache-2.0
"""The rules of the comparators that are programs of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from experiment_program import program
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS, SECOND
from observer.inventory.task import ABSENT, TaskLook
from observer.model import VerdictKind

if TYPE_CHECKING:
    from pathlib import Path

RUNS = TaskLook("S", exiting=False, start_ticks=1, runtime_ns=0, waited_ns=0)
STOPS = TaskLook("T", exiting=False, start_ticks=1, runtime_ns=0, waited_ns=0)


LONG_SECONDS = 20.0
POLLING = program("polling/polling.py")
GOSHD = program("goshd/goshd.py")


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
    found = POLLING.finding(POLLING.Sight(*sight))

    assert (found.kind if found else None) == kind
    assert (found is not None and found.is_certain) == is_certain


def test_nobody_waits_for_the_answer_of_one_that_stands_still(tmp_path: Path) -> None:
    """Its monitor is mute, and others are waiting to be looked at."""
    files = SimpleNamespace(qmp=tmp_path / "qmp")
    with (
        socket.socket(socket.AF_UNIX) as monitor,
        subprocess.Popen(["sleep", "60"]) as sleeper,
    ):
        try:
            monitor.bind(str(files.qmp))
            monitor.listen()
            sleeper.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED)
            guest = SimpleNamespace(files=files, disk_pid=sleeper.pid)
            life = POLLING.Life(guest, sleeper.pid)
            life.ask()
            began = time.monotonic()
            sight = life.look(began + LONG_SECONDS)
            life.close()
        finally:
            sleeper.kill()

    assert time.monotonic() - began < LONG_SECONDS / 2
    assert POLLING.finding(sight).kind == VerdictKind.VMM_STOPPED


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 3)), max_size=40)
)
def test_a_vcpu_hangs_after_four_seconds_without_activity(
    looks: list[tuple[bool, bool, int]],
) -> None:
    """Said once for each time that it lasted so long; a halt counts as activity."""
    state = GOSHD.Activity(GOSHD.Counts(0, halts=False), 0)
    own, now, quiet_since, said = 0, 0, 0, False
    for moves, halts, seconds in looks:
        now, own = now + seconds, own + moves
        state, is_due = GOSHD.watched(
            state, GOSHD.Counts(own, halts=halts), now * SECOND
        )
        if moves or halts:
            quiet_since, said = now, False
        wanted = not said and now - quiet_since >= GOSHD.LIMIT_NS / SECOND
        assert is_due == wanted
        said |= wanted


PHOENIX = program("phoenix/phoenix.py")
VALID_NS = 15 * MS
RULE = PHOENIX.Rule(VALID_NS, answer_ns=5 * MS)


def test_a_service_is_asked_when_no_sign_is_valid_any_more() -> None:
    """And held for hung when it has not answered in its slice; said once."""
    quiet = PHOENIX.Pulse(sign_ns=100 * MS)
    assert not PHOENIX.what_is_due(quiet, 115 * MS - 1, RULE)
    assert PHOENIX.what_is_due(quiet, 115 * MS, RULE) == "ask"

    asked = PHOENIX.Pulse(sign_ns=100 * MS, asked_ns=115 * MS)
    assert not PHOENIX.what_is_due(asked, 120 * MS - 1, RULE)
    assert PHOENIX.what_is_due(asked, 120 * MS, RULE) == "say"
    said = PHOENIX.Pulse(sign_ns=100 * MS, asked_ns=115 * MS, said=True)
    assert not PHOENIX.what_is_due(said, 999 * MS, RULE)


def test_a_part_hangs_whose_index_stands_though_it_has_work() -> None:
    """Not one that works slowly, and not one that has nothing to do."""
    part, said = PHOENIX.Part(5, 0), []
    for ms, private, shared in (
        *((5, 5, 5), (10, 5, 9), (15, 6, 9), (20, 6, 9)),
        *((25, 6, 12), (30, 6, 12), (35, 6, 12), (40, 12, 12)),
    ):
        part, is_due = PHOENIX.part_after(part, (private, shared), ms * MS, VALID_NS)
        if is_due:
            said.append(ms)

    assert said == [30]
    assert part == PHOENIX.Part(12, 40 * MS)
