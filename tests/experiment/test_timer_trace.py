# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest

from observer.errors import ProgramError
from observer.experiment.event_trace import US, TracePipe
from observer.experiment.timer_trace import TimerTrace

HEAD = "          <idle>-0       [00{cpu}] d.h1.    37.{micros:06}: "
ENTRY = "hrtimer_expire_entry: hrtimer={timer} function={function} now=37647000000\n"
EXIT = "hrtimer_expire_exit: hrtimer={timer}\n"
OURS, TICK = "bpf_timer_cb", "tick_sched_timer"


def entry(cpu: int, micros: int, timer: str, function: str = OURS) -> str:
    words = ENTRY.format(timer=timer, function=function)
    return HEAD.format(cpu=cpu, micros=micros) + words


def left(cpu: int, micros: int, timer: str) -> str:
    return HEAD.format(cpu=cpu, micros=micros) + EXIT.format(timer=timer)


def ran_ns(text: str) -> int:
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    os.write(theirs, text.encode())
    try:
        return TimerTrace(TracePipe(ours)).ran_ns()
    finally:
        os.close(ours)
        os.close(theirs)


def test_only_bpf_timers_are_timed() -> None:
    """Each from its own entry to its own exit, whatever other CPUs do meanwhile."""
    traced = (
        entry(0, 100, "a")
        + left(0, 107, "a")
        + entry(0, 200, "c", TICK)
        + left(0, 250, "c")
        + entry(1, 101, "b")
        + left(1, 131, "b")
        + entry(1, 300, "a")  # its exit is not traced any more
    )

    assert ran_ns(traced) == 37 * US


def test_a_trace_that_lost_some_is_no_measure() -> None:
    """It would tell too little."""
    with pytest.raises(ProgramError, match="lost 42 expiries"):
        ran_ns(entry(0, 1, "a") + "CPU:1 [LOST 42 EVENTS]\n" + left(0, 3, "a"))
