# SPDX-License-Identifier: Apache-2.0
"""A daemon that polls: who is there, who runs, who answers; see README.md."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from observer.clock import SECOND
from observer.errors import ProgramError
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_recovered,
    say_verdict,
)
from observer.experiment.line_socket import LineSocket
from observer.experiment.misses import Finding, Misses, counted
from observer.experiment.roster import Roster
from observer.inventory.procfs import read_proc
from observer.inventory.task import (
    ABSENT,
    PF_EXITING,
    TaskLook,
    look_at_task,
    parse_stat,
)
from observer.inventory.vhost_worker import vhost_workers
from observer.model import VerdictKind

if TYPE_CHECKING:
    from observer.guests.guest import Guest

__all__ = ["Sight", "Workers", "finding"]

PROC = Path("/proc")
ANSWER_SECONDS = 2.0
"""Masakari's timeout for an answer; less where one polls more often."""
READY = "R"
WRONG = frozenset({"internal-error", "io-error", "guest-panicked"})


class Sight(msgspec.Struct, frozen=True):
    """What one poll saw of a VM."""

    vmm: TaskLook
    answers: bool
    back_end: TaskLook
    status: str = "running"
    starved: str = ""
    """The worker that has not run since the poll before, though it had work."""


def finding(sight: Sight) -> Finding | None:
    """What is wrong, the gravest first; one paused by its monitor still answers."""
    gone, wrong = sight.vmm.gone, sight.status in WRONG
    starved, waits = VerdictKind.BACKEND_STARVED, "it waits for a CPU"
    found = (
        (gone, VerdictKind.VMM_CRASHED, "vmm", "its process is gone"),
        (sight.back_end.gone, VerdictKind.BACKEND_CRASHED, "disk", "its disk is gone"),
        (sight.vmm.stopped, VerdictKind.VMM_STOPPED, "vmm", "it is stopped"),
        (not sight.answers, VerdictKind.VMM_HUNG, "vmm", "its monitor is mute"),
        (wrong, VerdictKind.GUEST_HUNG, "guest", f"it is {sight.status}"),
        (sight.back_end.stopped, VerdictKind.BACKEND_HUNG, "disk", "it is stopped"),
        (bool(sight.starved), starved, sight.starved, waits),
    )
    for is_so, kind, subject, evidence in found:
        if is_so:
            is_certain = gone or sight.back_end.gone
            return Finding(kind, subject, evidence, is_certain=is_certain)
    return None


def state_of(folder: Path) -> TaskLook:
    """The state of /proc/PID; its times are in another file, which is not read."""
    try:
        state, flags, start = parse_stat(read_proc(folder / "stat"))
    except (FileNotFoundError, ProcessLookupError):
        return ABSENT
    exiting = bool(flags & PF_EXITING)
    return TaskLook(state, exiting, start_ticks=start, runtime_ns=0, waited_ns=0)


class Workers:
    """The threads that serve a VM's network in the kernel, from poll to poll."""

    def __init__(self, pid: int, proc: Path = PROC) -> None:
        self._name, self._proc = f"vhost-{pid}", proc
        self._tids = vhost_workers(pid, proc)
        self._ready: dict[int, int] = {}
        """Those that were ready to run, by how long they had run."""

    def starved(self) -> str:
        """Their name, if one was ready at the last two polls and never ran between.

        How long a task has waited does not grow before it runs (`sched_info_arrive` in
        kernel/sched/stats.h): that it has not run is all that there is to see.
        """
        before, self._ready = self._ready, {}
        for tid in self._tids:
            folder = self._proc / str(tid)
            if state_of(folder).state == READY:
                self._ready[tid] = look_at_task(folder).runtime_ns
        is_so = any(before.get(tid) == ns for tid, ns in self._ready.items())
        return self._name if is_so else ""


class Life:
    """One VM, from poll to poll."""

    def __init__(self, guest: Guest, pid: int) -> None:
        self.guest, self._pid = guest, pid
        self._monitor = LineSocket(guest.files.qmp, greets=True)
        self._workers = Workers(pid)
        self._misses = Misses()
        self._has_answered = False
        """A VMM that makes its devices does not answer yet."""

    def close(self) -> None:
        """Let go of its monitor."""
        self._monitor.close()

    def ask(self) -> None:
        """Send the question; the answer comes while others are asked."""
        self._monitor.ask("query-status")

    def look(self, deadline: float) -> Sight:
        """What there is to see, its answer being waited for until a deadline.

        Of one that is gone or stopped none is waited for.
        """
        vmm = state_of(PROC / str(self._pid))
        is_able = not vmm.gone and not vmm.stopped
        answer = self._monitor.answer(deadline) if is_able else None
        self._has_answered |= answer is not None
        back_end = ABSENT
        with suppress(ProgramError):  # its file says who it is, also after a restart
            back_end = state_of(PROC / str(self.guest.disk_pid))
        return Sight(
            vmm,
            answer is not None or not self._has_answered,
            back_end,
            answer["return"]["status"] if answer else "unknown",
            self._workers.starved(),
        )

    def judge(self, sight: Sight, failures: int) -> None:
        """Say what is to be said."""
        before, now_ns = self._misses, time.monotonic_ns()
        found = finding(sight)
        self._misses, due = counted(before, found, now_ns, failures)
        if due is not None:
            say_verdict(
                self.guest.name,
                due.kind,
                self._misses.since_ns,
                f"{due.evidence}, {self._misses.count} polls in a row",
                subject=due.subject,
            )
        elif before.said and found is None:
            say_recovered(self.guest.name)


@click.command()
@click.option("--every", type=click.FloatRange(0.01), default=10.0, help="Seconds.")
@click.option("--failures", type=click.IntRange(1), default=3, help="In a row.")
def main(every: float, failures: int) -> None:
    """Poll all guests until SIGTERM."""
    began = time.monotonic()
    ends_on_sigterm()
    roster = Roster()
    lives: dict[int, Life] = {}
    wait = min(ANSWER_SECONDS, every)
    due_ns = time.monotonic_ns()
    say_armed(time.monotonic() - began)
    while True:
        now = roster.lives()
        for pid in lives.keys() - now.keys():
            lives.pop(pid).close()
        for pid in now.keys() - lives.keys():
            lives[pid] = Life(now[pid], pid)
        for life in lives.values():
            life.ask()
        deadline = time.monotonic() + wait
        for life in lives.values():
            life.judge(life.look(deadline), failures)
        due_ns = max(due_ns + int(every * SECOND), time.monotonic_ns())
        time.sleep(max(0, due_ns - time.monotonic_ns()) / SECOND)


if __name__ == "__main__":
    main()
