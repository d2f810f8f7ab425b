# SPDX-License-Identifier: Apache-2.0
"""When somebody who was killed can do nothing more, by what /proc says."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from observer.services import standstill
from observer.services.standstill import await_standstill, vhost_kthreads

if TYPE_CHECKING:
    import pytest

VMM, VCPU, WORKER = 70, 71, 80
EXITING = 0x4


def put(
    folder: Path, comm: str, state: str = "S", flags: int = 0, ran_ns: int = 1
) -> None:
    """One task."""
    folder.mkdir(parents=True, exist_ok=True)
    rest = " ".join(["0"] * 12)
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "stat").write_text(
        f"{folder.name} ({comm}) {state} 1 1 1 0 -1 {flags} {rest} 7 0"
    )
    (folder / "schedstat").write_text(f"{ran_ns} 0 1")


def threads(proc: Path, *flags: int) -> None:
    for tid, its in zip((VMM, VCPU), flags, strict=True):
        put(proc / str(VMM) / "task" / str(tid), "qemu", flags=its)


def test_it_moves_as_long_as_one_thread_does(tmp_path: Path) -> None:
    """A thread that has not yet seen the signal may be in its guest."""
    threads(tmp_path, EXITING, 0)
    assert not await_standstill(VMM, (), 0, tmp_path)
    threads(tmp_path, EXITING, EXITING)
    assert await_standstill(VMM, (), 0, tmp_path)
    assert await_standstill(VMM + 1, (), 0, tmp_path)  # gone altogether


def test_a_worker_of_the_kernels_is_to_sleep_and_go_on_sleeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its VMM gave it last is done first."""
    put(tmp_path / str(VMM), "qemu")
    put(tmp_path / str(WORKER), f"vhost-{VMM}", "R")
    put(tmp_path / "90", f"vhost-{VMM + 1}")
    (tmp_path / "self").mkdir()
    assert vhost_kthreads(VMM, tmp_path) == (WORKER,)
    threads(tmp_path, EXITING, EXITING)
    assert not await_standstill(VMM, (WORKER,), 0, tmp_path)

    lives = [("S", 5), ("R", 6), ("S", 7), ("S", 8), ("S", 8), ("S", 9)]

    def live_on(_seconds: float) -> None:
        state, ran_ns = lives.pop(0)
        put(tmp_path / str(WORKER), f"vhost-{VMM}", state, ran_ns=ran_ns)

    monkeypatch.setattr(standstill.time, "sleep", live_on)
    assert await_standstill(VMM, (WORKER,), 60, tmp_path)
    assert lives == [("S", 9)]


def test_one_that_was_killed_stands_still(tmp_path: Path) -> None:
    """Of this machine's, stopped, and killed, but waited for by nobody yet."""
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert not await_standstill(process.pid, (), 0)
        process.kill()
        assert await_standstill(process.pid, (), 30)
        assert Path(f"/proc/{process.pid}").exists()
