# SPDX-License-Identifier: Apache-2.0
"""What actuators are tested with: a VM made by hand, and a process that rests."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from observer.clock import SECOND
from observer.guests.waiting import wait_until
from observer.inventory.command_line import CommandLine, read_command_line
from observer.inventory.task import look_at_task
from observer.kernel.cells import RING, VCPU, VM, RingFlag, RingKind
from observer.model import Repair, Step, StepKind, Verdict, VerdictKind, Vm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROC = Path("/proc")
PID, WORKER, VCPU_TID = 100, 101, 102
NOW_NS = 1_000_000
RECEIVE, TRANSMIT = 3, 4  # slots
DOORBELL = 0xFE00_3000


class Books:
    """One VM with the two rings of one vhost-net."""

    def __init__(self) -> None:
        self.vms, self.vcpus = np.zeros(1, VM), np.zeros(1, VCPU)
        self.rings = np.zeros(8, RING)
        self.vms[0]["rings"][:2] = RECEIVE + 1, TRANSMIT + 1
        self.vcpus[0]["tid"] = VCPU_TID
        for index, slot in enumerate((RECEIVE, TRANSMIT)):
            ring = self.rings[slot]
            ring["kind"], ring["index"] = RingKind.VHOST, index
            ring["flags"] = RingFlag.LIVE | RingFlag.EVENT_IDX
            ring["eventfd_id"], ring["call_id"] = 70 + index, 80 + index
            ring["worker_tid"], ring["device"] = WORKER, 0xD
        self.rings[TRANSMIT]["flags"] |= RingFlag.SERVES_KICK
        self.rings[TRANSMIT]["doorbell"] = DOORBELL

    def look_at_ring(self, slot: int) -> bool:
        return bool(self.rings[slot]["kind"])


class Host:
    """What an actuator reads of it, and of whom."""

    def __init__(self, proc: Path) -> None:
        self.books, self.proc = Books(), proc
        self.vm = Vm(PID, 7, "web", 0, qmp=str(proc / "qmp"))
        self.put(PID, "qemu-system-x86")
        self.put(WORKER, "vhost-100")
        self.put(VCPU_TID, "CPU 0/KVM", folder=proc / str(PID) / "task")

    def put(self, pid: int, comm: str, state: str = "S", *, folder: Path | None = None):
        task = (folder or self.proc) / str(pid)
        task.mkdir(parents=True, exist_ok=True)
        (task / "comm").write_text(f"{comm}\n")
        rest = " ".join(["0"] * 12)
        (task / "stat").write_text(f"{pid} ({comm}) {state} 1 1 1 0 -1 0 {rest} 7 0")
        (task / "schedstat").write_text("5000 100 3")

    def owes(self, slot: int, since_ns: int = NOW_NS - 1) -> None:
        self.books.rings[slot]["since_ns"] = since_ns

    def find(self, name: str) -> Vm | None:
        return self.vm if name == self.vm.name else None

    def repair(self, kind: VerdictKind = VerdictKind.BACKEND_HUNG) -> Repair:
        subject = "guest" if kind is VerdictKind.GUEST_HUNG else "vhost-100"
        verdict = Verdict("", NOW_NS, "web", subject, kind, 0, 0, "", "", PID)
        return Repair(verdict, Step(StepKind.RE_KICK, SECOND), 1)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """One VM, at peace."""
    return Host(tmp_path)


@pytest.fixture
def plain() -> CommandLine:
    """Of a QEMU that can be started again: an orphan, in nobody's care."""
    return CommandLine(
        pid=4711,
        start_ticks=7,
        program="/usr/bin/qemu-system-x86_64",
        file=(1, 2),
        argv=("qemu-system-x86_64", "-name", "guest=web"),
        environment={},
        folder="/",
        user=0,
        group=0,
        groups=(),
        umask=0o022,
        no_new_privileges=False,
        cpus=(0,),
        limits={},
        oom_score=0,
        cgroup="/user.slice/user-0.slice/session-3.scope",
        parent=None,
        stdin="/dev/null",
        stdout="/dev/null",
    )


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., Iterator[CommandLine]]:
    """A process of a name of ours that does nothing, and how it was started."""

    @contextmanager
    def run(name: str, *words: str) -> Iterator[CommandLine]:
        program = tmp_path / name
        if not program.exists():
            shutil.copy("/bin/sh", program)
        argv = [program, "-c", "kill -STOP $$", *words]
        with subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.DEVNULL) as process:
            folder = PROC / str(process.pid)
            wait_until(lambda: look_at_task(folder).stopped, 30, "it rests")
            ticks = look_at_task(PROC / str(process.pid)).start_ticks
            line = read_command_line(PROC, process.pid, ticks)
            assert line is not None
            yield line
            process.kill()

    return run
