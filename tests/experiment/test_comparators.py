# SPDX-License-Identifier: Apache-2.0
"""The rules of the comparators that are programs of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from shutil import rmtree
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from experiment_program import program
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import SECOND
from observer.inventory.task import ABSENT, TaskLook
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable
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
        ((RUNS, True, RUNS, "running", "v"), VerdictKind.BACKEND_STARVED, False),
        ((STOPS, False, RUNS, "unknown", "v"), VerdictKind.VMM_STOPPED, False),
    ],
)
def test_what_a_poll_finds(
    sight: tuple[object, ...], kind: VerdictKind | None, *, is_certain: bool
) -> None:
    """The gravest that there is; a VM that somebody paused is well."""
    found = POLLING.finding(POLLING.Sight(*sight))

    assert (found.kind if found else None) == kind
    assert (found is not None and found.is_certain) == is_certain


WORKER, VMM = 901, 800


@pytest.fixture
def worker(tmp_path: Path) -> Callable[[str, int], None]:
    """Puts a worker of the kernel's into a state, having run for so long."""

    def put(state: str, ran_ns: int) -> None:
        folder = tmp_path / str(WORKER)
        folder.mkdir(exist_ok=True)
        name = f"vhost-{VMM}"
        (folder / "comm").write_text(f"{name}\n")
        (folder / "stat").write_text(f"{WORKER} ({name}) {state} 2" + " 0" * 40)
        (folder / "schedstat").write_text(f"{ran_ns} 5 1\n")

    return put


@pytest.mark.parametrize(
    ("polls", "starves"),
    [
        ([("R", 7), ("R", 7), ("R", 7), ("R", 7)], [False, True, True, True]),
        ([("R", 7), ("R", 8), ("R", 8)], [False, False, True]),
        ([("R", 7), ("S", 7), ("R", 7), ("R", 7)], [False, False, False, True]),
        ([("S", 7), ("S", 7), ("D", 7), ("D", 7)], [False] * 4),
    ],
)
def test_a_worker_starves_that_is_ready_and_does_not_run(
    polls: list[tuple[str, int]],
    starves: list[bool],
    worker: Callable[[str, int], None],
    tmp_path: Path,
) -> None:
    """From poll to poll: one that sleeps has no work, one that runs has a CPU."""
    worker(*polls[0])
    workers, found = POLLING.Workers(VMM, tmp_path), []
    for poll in polls:
        worker(*poll)
        found.append(workers.starved())

    assert found == [f"vhost-{VMM}" if it else "" for it in starves]


def test_a_worker_that_is_gone_does_not_starve(
    worker: Callable[[str, int], None], tmp_path: Path
) -> None:
    """Nor one that was never there."""
    worker("R", 7)
    workers = POLLING.Workers(VMM, tmp_path)
    assert not workers.starved()
    rmtree(tmp_path / str(WORKER))
    assert not workers.starved()
    assert not POLLING.Workers(VMM, tmp_path).starved()


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
