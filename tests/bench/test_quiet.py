# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.bench.quiet import Threads, armed_seconds, at_rest, memory_mib, threads_of
from observer.errors import ProgramError

STATUS = """\
Name:\tobserver
VmHWM:\t   46080 kB
VmRSS:\t   40960 kB
voluntary_ctxt_switches:\t{}
nonvoluntary_ctxt_switches:\t900
"""


def test_the_daemon_says_itself_when_it_was_armed():
    """The line on stderr counts from imports done."""
    assert armed_seconds("vm: x\narmed: in 0.213 s\n") == 0.213


def test_a_daemon_that_was_never_armed_is_an_error():
    """No such line, no figure."""
    with pytest.raises(ProgramError):
        armed_seconds("")


def test_memory_is_told_in_mib():
    """Resident memory now and at its peak come from one file."""
    assert memory_mib(STATUS, "VmRSS") == 40.0
    assert memory_mib(STATUS, "VmHWM") == 45.0


def test_wakeups_are_summed_over_threads(tmp_path):
    """Only voluntary switches count: being preempted wakes nobody."""
    for tid, switches in ((7, 5), (8, 12)):
        task = tmp_path / "7" / "task" / str(tid)
        task.mkdir(parents=True)
        (task / "status").write_text(STATUS.format(switches))
        (task / "schedstat").write_text(f"{tid}000 20 30\n")

    assert threads_of(7, tmp_path) == Threads(17, 15_000, 2)


def test_who_computes_is_not_at_rest():
    """Neither is who wakes often; what is left of a start is no cost at rest."""
    before = Threads(100, 5_000_000, 2)

    assert at_rest(before, Threads(129, 60_000_000, 2), 3.0)
    assert not at_rest(before, Threads(130, 60_000_000, 2), 3.0)
    assert not at_rest(before, Threads(100, 70_000_000, 2), 3.0)
