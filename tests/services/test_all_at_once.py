# SPDX-License-Identifier: Apache-2.0
"""All services die in the same millisecond, and a VM that uses them: the graph orders.

OBSERVER_ROUNDS is how often.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from bare_vmm import bare_vmm
from broken_service import (
    STARVED,
    Service,
    Writer,
    caring_for,
    check_arrived,
    told,
)

from observer.clock import MS
from observer.guests.traffic import Flow
from observer.guests.waiting import wait_until
from observer.model import Result

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from observer.demo.voice import Voice
    from observer.model import Outcome

ROUNDS = int(os.environ.get("OBSERVER_ROUNDS", "1"))
SECONDS = 60
USER = "web"
RECORDS = "select count(*) from command_lines where pid = ?"
BEGUN = """
select v.vm, min(s.begun_ns), v.ended_ns
from verdicts v join steps s on s.verdict = v.id
where s.begun_ns > ? and v.vm = v.subject group by v.id
"""

pytestmark = [
    pytest.mark.service,
    pytest.mark.newest,
    pytest.mark.usefixtures("leave_to_break"),
    pytest.mark.timeout(300 + 60 * ROUNDS),
]


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Callable[[], int]]:
    """A VM that is nobody's child; its pid, of the life that it is in."""
    file = tmp_path / "pid"

    def pid() -> int:
        wait_until(lambda: bool(file.read_text()), SECONDS, "its pid was written")
        return int(file.read_text())

    argv = bare_vmm(USER, "-daemonize", "-pidfile", str(file))
    subprocess.run(argv, check=True, timeout=SECONDS)
    yield pid
    with suppress(ProcessLookupError):  # a test that failed may have left it dead
        os.kill(pid(), signal.SIGKILL)


def kill_all(pids: list[int]) -> int:
    """In one millisecond, or as soon as this host lets us; the moment before."""
    processes = [os.pidfd_open(pid) for pid in pids]
    moment_ns = time.monotonic_ns()
    for process in processes:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    for process in processes:
        os.close(process)
    return moment_ns


def outcomes_since(voice: Voice, moment_ns: int) -> list[Outcome]:
    """One of each of the three; whatever else there is comes before the last."""

    def found() -> list[Outcome]:
        mended = (o for o in voice.outcomes() if o.kind is not STARVED)
        return [o for o in mended if o.monotonic_ns > moment_ns]

    wait_until(
        lambda: len({o.vm for o in found()}) == 3, SECONDS, "all three had an outcome"
    )
    return found()


def spans(folder: Path, since_ns: int) -> dict[str, tuple[int, int]]:
    """When each one's repair was begun and over, as the journal has it."""
    with sqlite3.connect(folder / "state/journal.db") as journal:
        rows = journal.execute(BEGUN, [since_ns]).fetchall()
    return {vm: (begun_ns, ended_ns) for vm, begun_ns, ended_ns in rows}


def has_record(folder: Path, pid: int) -> bool:
    with sqlite3.connect(folder / "state/command-lines.db") as rows:
        return bool(rows.execute(RECORDS, [pid]).fetchone()[0])


def test_all_that_died_at_once_come_back_in_the_graphs_order(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    disk: Path,
    user: Callable[[], int],
    record_property: Callable[[str, object], None],
) -> None:
    """The services side by side, then who uses them; no frame and no block is lost."""
    inside, outside = hosts
    net, store = Service("net"), Service("disk")
    found = 0
    with caring_for((net, store), tmp_path, user=USER) as voice:
        with (
            Writer(disk) as writer,
            Flow(inside, outside) as out,
            Flow(outside, inside) as back,
        ):
            for round_ in range(ROUNDS):
                out.wait_for(30)
                back.wait_for(30)
                writer.wait_for(10)
                wait_until(lambda: has_record(tmp_path, user()), SECONDS, "its record")
                moment_ns = kill_all([user(), store.pid(), net.pid()])
                outcomes = outcomes_since(voice, moment_ns)
                heard = told(voice.since(moment_ns), outcomes)
                assert len(outcomes) == 3, heard
                assert {o.result for o in outcomes} == {Result.REPAIRED}, heard
                when = spans(tmp_path, moment_ns)
                services = when["net"], when["disk"]
                assert max(begun for begun, _ in services) < min(
                    ended for _, ended in services
                ), heard
                assert when[USER][0] >= max(ended for _, ended in services), heard
                for vm, (begun_ns, ended_ns) in when.items():
                    said = (begun_ns - moment_ns) / MS, (ended_ns - moment_ns) / MS
                    record_property(f"{round_} {vm}", said)
                found += net.salvaged()
            out.wait_for(30)
            back.wait_for(30)
            writer.wait_for(10)
        assert "error" not in voice.notes(), voice.notes()
    assert not writer.errors
    for flow in (out, back):
        check_arrived(flow, found)
