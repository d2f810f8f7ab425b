# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from observer.clock import MS
from observer.errors import ProgramError
from observer.experiment.cost import Taken, cpu_ns_of, family_of, kvm_counter, taken_by
from observer.guests.waiting import wait_until
from observer.inventory.task import look_at_task

PROC = Path("/proc")
STATUS = """\
Name:\tx
VmRSS:\t    2048 kB
voluntary_ctxt_switches:\t3
nonvoluntary_ctxt_switches:\t4
"""


def _task(proc: Path, pid: int, children: str, cpu_ns: int) -> None:
    task = proc / f"{pid}/task/{pid}"
    task.mkdir(parents=True)
    (task / "children").write_text(children)
    (task / "schedstat").write_text(f"{cpu_ns} 5 6\n")
    for folder in (task, proc / str(pid)):
        (folder / "status").write_text(STATUS)


def test_a_process_is_counted_with_all_that_it_started(tmp_path: Path) -> None:
    """Children's children too."""
    _task(tmp_path, 7, "8 9 ", 100)
    _task(tmp_path, 8, "10 ", 20)
    _task(tmp_path, 9, "", 3)
    _task(tmp_path, 10, "", 4000)

    assert sorted(family_of(7, tmp_path)) == [7, 8, 9, 10]
    assert cpu_ns_of(7, tmp_path) == 4123
    assert taken_by(8, tmp_path) == Taken(20, 3, 4, 2.0)


def test_one_that_has_ended_takes_nothing(tmp_path: Path) -> None:
    """It may end while it is looked at."""
    assert taken_by(7, tmp_path) == Taken()
    assert cpu_ns_of(7, tmp_path) == 0


def test_a_real_child_is_found() -> None:
    """As the kernel tells it."""
    argv = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as child:
        assert child.pid in family_of(os.getpid())
        child.communicate()


def test_real_cpu_time_is_counted_and_rest_is_none() -> None:
    """Of a program that computes for a while and then waits to be ended."""
    work = "while time.process_time() < 0.2: pass"
    program = f"import sys, time\n{work}\nprint(flush=True)\ninput()"
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        wait_until(lambda: look_at_task(PROC / str(child.pid)).state == "S", 20, "rest")
        took_ns = cpu_ns_of(child.pid)
        assert took_ns >= 180 * MS
        assert cpu_ns_of(child.pid) == took_ns
        child.communicate(b"\n")


def test_kvm_counts_for_a_vm(tmp_path: Path) -> None:
    """Its folder is named after the process and a descriptor of its."""
    (tmp_path / "70-12").mkdir()
    (tmp_path / "70-12/exits").write_text("4711\n")

    assert kvm_counter(70, "exits", tmp_path) == 4711
    with pytest.raises(ProgramError, match="debugfs"):
        kvm_counter(7, "exits", tmp_path)
