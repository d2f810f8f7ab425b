# SPDX-License-Identifier: Apache-2.0
"""One thread or process, read from /proc: state, CPU time, time spent waiting.

None of these files takes the process's mmap_lock, so a stuck VMM cannot hold us up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.inventory.procfs import read_proc

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

__all__ = [
    "ABSENT",
    "TaskLook",
    "in_guest",
    "in_kvm_run",
    "look_at_task",
    "parse_stat",
    "tasks_of",
]

PF_VCPU, PF_EXITING = 0x1, 0x4  # include/linux/sched.h
KVM_RUN = "0xae80"  # include/uapi/linux/kvm.h
STOPPED = frozenset("Tt")
GONE = frozenset("ZX")


class TaskLook(msgspec.Struct, frozen=True):
    """A task at one moment; `state` as in proc(5), X where there is none.

    `guest_mode` is the flag that KVM sets around a guest (guest_timing_enter_irqoff in
    include/linux/kvm_host.h).
    """

    state: str
    exiting: bool
    start_ticks: int
    runtime_ns: int
    waited_ns: int
    guest_mode: bool = False

    @property
    def gone(self) -> bool:
        """It runs no more code of its own."""
        return self.state in GONE or self.exiting

    @property
    def stopped(self) -> bool:
        """SIGSTOP or a tracer holds it."""
        return self.state in STOPPED


ABSENT = TaskLook("X", exiting=True, start_ticks=0, runtime_ns=0, waited_ns=0)


def parse_stat(text: str) -> tuple[str, int, int]:
    """State, flags and start time in ticks from /proc/PID/stat."""
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[6]), int(fields[19])


def look_at_task(folder: PathLike[str] | str) -> TaskLook:
    """Read /proc/PID or /proc/PID/task/TID; a task that is gone is `ABSENT`."""
    try:
        state, flags, start = parse_stat(read_proc(f"{folder}/stat"))
        run, waited, _ = read_proc(f"{folder}/schedstat").split()
    except (FileNotFoundError, ProcessLookupError):
        return ABSENT
    exiting, guest_mode = bool(flags & PF_EXITING), bool(flags & PF_VCPU)
    return TaskLook(state, exiting, start, int(run), int(waited), guest_mode)


def tasks_of(proc: Path, pid: int) -> list[int]:
    """Thread ids of a process; none if it is gone."""
    try:
        return [int(p.name) for p in (proc / str(pid) / "task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _system_call(folder: PathLike[str] | str) -> list[str]:
    """Its number and arguments, or "running" on a CPU, wherever that leads."""
    try:
        return read_proc(f"{folder}/syscall").split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def in_kvm_run(folder: PathLike[str] | str) -> bool:
    """Say whether a vCPU's thread is in KVM_RUN: in the guest, halted, or about to."""
    words = _system_call(folder)
    return words[:1] == ["running"] or KVM_RUN in words[2:3]


def in_guest(folder: PathLike[str] | str, task: TaskLook, *, met: bool) -> bool:
    """Say whether a vCPU's thread runs its guest, or sleeps within KVM_RUN.

    Not while it works in the VMM or on the way there and back: of one on a CPU only the
    flag tells, or that an interrupt of the host's `met` it in its guest since the guest
    last gave it work.
    """
    words = _system_call(folder)
    if words[:1] == ["running"]:
        return met or task.guest_mode
    return KVM_RUN in words[2:3]
