# SPDX-License-Identifier: Apache-2.0
"""Second look at a process: is it gone, and has it failed or ended; is it stopped."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from observer.clock import MS
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

if TYPE_CHECKING:
    from observer.inventory.task import TaskLook

__all__ = ["describe_exit", "judge_exit", "judge_stop"]

PATIENCE_NS = 1000 * MS


def describe_exit(code: int) -> str:
    """Put a wait(2) status into words."""
    if os.WIFSIGNALED(code):
        number = os.WTERMSIG(code)
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    return f"exited with status {os.WEXITSTATUS(code)}"


def judge_exit(  # noqa: PLR0913 - the evidence has as many parts
    *,
    is_vmm: bool,
    subject: str,
    code: int,
    since_ns: int,
    age_ns: int,
    seen: TaskLook,
    start_ticks: int,
    kept: bool | None,
) -> Look:
    """Say whether a process that is said to exit has failed.

    `seen` is the process now, `start_ticks` its start time as we knew it (0: unknown).
    `kept` says whether a service VM's keeper still wants it, None of others: a service
    that resets ends its VMM with status 0.
    """
    same = not start_ticks or seen.start_ticks in (0, start_ticks)
    if same and not seen.gone:
        if age_ns < PATIENCE_NS:
            return LookAgain(2 * MS, "it still runs")
        return Refuted("the process runs on")
    if kept is False:
        return Refuted("its keeper ended it")
    if code == 0 and not kept:
        return Refuted("it ended by itself with status 0")
    return Confirmed(
        VerdictKind.VMM_CRASHED if is_vmm else VerdictKind.BACKEND_CRASHED,
        subject,
        since_ns,
        f"{subject} {describe_exit(code)}; /proc shows it gone",
    )


def judge_stop(  # noqa: PLR0913 - the evidence has as many parts
    *,
    is_vmm: bool,
    subject: str,
    since_ns: int,
    age_ns: int,
    limit_ns: int,
    seen: TaskLook,
) -> Look:
    """Say whether a process that got a signal to stop has stopped, and stays so."""
    if seen.gone:
        return Refuted("it is gone: its exit is another matter")
    if age_ns < limit_ns:
        return LookAgain(limit_ns - age_ns, "it may go on at once")
    if not seen.stopped:
        return Refuted("it runs on")
    return Confirmed(
        VerdictKind.VMM_STOPPED if is_vmm else VerdictKind.BACKEND_HUNG,
        subject,
        since_ns,
        f"a signal stopped {subject} {age_ns / MS:.0f} ms ago; /proc shows it so",
    )
