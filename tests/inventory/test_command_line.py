# SPDX-License-Identifier: Apache-2.0
"""How processes were started that we have started ourselves, and so know."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.inventory.command_line import find_running, read_command_line
from observer.inventory.recorded import Recorded
from observer.inventory.task import look_at_task
from observer.model import BackEnd, Vm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.inventory.command_line import CommandLine

PROC = Path("/proc")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/x", "TOKEN": "secret"}
ARGV = ("sleep", "61.5", "0")


@pytest.fixture
def asleep(tmp_path: Path) -> Iterator[int]:
    """A process in a folder, with an environment and a log."""
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            ARGV,
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            umask=0o027,
            start_new_session=True,
        ) as process,
    ):
        yield process.pid
        process.kill()


def read(pid: int) -> CommandLine:
    line = read_command_line(PROC, pid, look_at_task(PROC / str(pid)).start_ticks)
    assert line is not None
    return line


def test_all_that_a_process_was_given_is_read(asleep: int, tmp_path: Path) -> None:
    """But of its environment only what a VMM reads."""
    line = read(asleep)

    assert line.argv == ARGV
    assert line.environment == {"PATH": "/usr/bin:/bin", "HOME": "/x"}
    assert Path(line.program).samefile(f"/proc/{asleep}/exe")
    assert (line.folder, line.umask) == (str(tmp_path), 0o027)
    assert (line.user, line.group) == (os.getuid(), os.getgid())
    assert line.groups == tuple(os.getgroups())
    assert set(line.cpus) == os.sched_getaffinity(0)
    assert (line.stdin, line.stdout) == ("/dev/null", str(tmp_path / "log"))
    assert line.parent is not None
    assert line.parent.pid == os.getpid()
    assert line.differs is None
    assert not line.tracks_inflight


def test_another_of_its_number_is_not_read(asleep: int) -> None:
    """It was started at another time."""
    ticks = look_at_task(PROC / str(asleep)).start_ticks

    assert read_command_line(PROC, asleep, ticks - 1) is None


def test_requests_in_flight_are_kept_in_memory_of_that_name(tmp_path: Path) -> None:
    """As libvhost-user and DPDK call it; it is seen in whoever has mapped it."""
    program = (
        "import mmap, os, sys; fd = os.memfd_create('vhost-inflight');"
        "os.ftruncate(fd, 4096); m = mmap.mmap(fd, 4096); print(flush=True);"
        "sys.stdin.read()"
    )
    argv = ["python3", "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert read(process.pid).tracks_inflight
        process.kill()


def test_a_twin_is_found_by_its_words(asleep: int) -> None:
    """Whoever has started it; one that was started otherwise is none."""
    line = read(asleep)
    assert find_running(PROC, line) is None
    with subprocess.Popen(["sleep", "61.5"]) as other:
        assert find_running(PROC, line) is None
        other.kill()
    with subprocess.Popen(ARGV) as twin:
        assert find_running(PROC, line) == twin.pid
        twin.kill()


def test_what_was_recorded_outlives_process_and_observer(tmp_path: Path) -> None:
    """In a file of root's alone, until the host is started anew."""
    path, errors = tmp_path / "state/lines.db", []

    async def watched(recorded: Recorded, vm: Vm) -> None:
        recorded.see(vm)
        recorded.see(vm)
        while not (recorded.of("web", vm.pid) and recorded.back_ends_of("web", vm.pid)):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)

    with subprocess.Popen(ARGV) as process:
        ticks = look_at_task(PROC / str(process.pid)).start_ticks
        gone, serves = BackEnd(2**22 + 1, "qsd"), BackEnd(os.getpid(), "python3")
        vm = Vm(process.pid, ticks, "web", 0, back_ends=(gone, serves))
        first = Recorded(path, "this boot", PROC, errors.append)
        asyncio.run(asyncio.wait_for(watched(first, vm), 30))
        first.close()
        process.kill()

    second = Recorded(path, "this boot", PROC, errors.append)
    line = second.of("web", process.pid)
    assert line is not None
    assert (line.argv, line.start_ticks) == (ARGV, ticks)
    assert second.of("web", gone.pid) is None
    assert [b.pid for b in second.back_ends_of("web", process.pid)] == [serves.pid]
    assert not second.back_ends_of("web", serves.pid)
    assert second.of("db", process.pid) is None
    second.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert Recorded(path, "the next", PROC, errors.append).of("web", vm.pid) is None
    assert not errors
