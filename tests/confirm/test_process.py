# SPDX-License-Identifier: Apache-2.0
import signal

import pytest

from observer.clock import MS
from observer.confirm.process import describe_exit, judge_exit, judge_stop
from observer.inventory.task import ABSENT, TaskLook
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

ALIVE = TaskLook("S", exiting=False, start_ticks=77, runtime_ns=0, waited_ns=0)


def judged(
    seen: TaskLook = ABSENT,
    code: int = 9,
    age_ns: int = 0,
    *,
    is_vmm: bool = True,
    kept: bool | None = None,
) -> Look:
    return judge_exit(
        is_vmm=is_vmm,
        subject="web1",
        code=code,
        since_ns=5,
        age_ns=age_ns,
        seen=seen,
        start_ticks=77,
        kept=kept,
    )


def test_a_killed_vmm_crashed() -> None:
    """Gone, and by a signal: a crash since the kernel saw it."""
    look = judged()

    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.VMM_CRASHED
    assert "SIGKILL" in look.evidence


def test_a_killed_back_end_crashed() -> None:
    """The same for who is no VMM."""
    look = judged(is_vmm=False)
    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.BACKEND_CRASHED


def test_an_orderly_end_is_no_failure() -> None:
    """Status 0 is what `quit` and a guest's power-off leave."""
    assert isinstance(judged(code=0), Refuted)


def test_a_service_never_ends_by_itself() -> None:
    """A triple fault ends its VMM with status 0; its keeper kills it."""
    crashed = judged(code=0, kept=True)
    assert isinstance(crashed, Confirmed)
    assert crashed.kind is VerdictKind.VMM_CRASHED
    assert isinstance(judged(code=9, kept=False), Refuted)


def test_a_process_that_runs_on_refutes() -> None:
    """The event alone is not believed while /proc shows the process alive."""
    assert isinstance(judged(seen=ALIVE), LookAgain)
    assert isinstance(judged(seen=ALIVE, age_ns=2000 * MS), Refuted)


def test_a_number_used_again_is_another_process() -> None:
    """A living process with another start time is not ours: ours is gone."""
    other = TaskLook("S", exiting=False, start_ticks=99, runtime_ns=0, waited_ns=0)
    assert isinstance(judged(seen=other), Confirmed)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (signal.SIGSEGV, "killed by SIGSEGV"),
        (1 << 8, "exited with status 1"),
        (63, "killed by signal 63"),
    ],
)
def test_statuses_are_put_into_words(code: int, words: str) -> None:
    """An operator reads the signal's name or the status."""
    assert describe_exit(code) == words


STOPPED = TaskLook("T", exiting=False, start_ticks=77, runtime_ns=0, waited_ns=0)


def judged_stop(seen: TaskLook, age_ns: int, *, is_vmm: bool = True) -> Look:
    return judge_stop(
        is_vmm=is_vmm,
        subject="web1",
        since_ns=5,
        age_ns=age_ns,
        limit_ns=20 * MS,
        seen=seen,
    )


@pytest.mark.parametrize(
    ("is_vmm", "kind"),
    [(True, VerdictKind.VMM_STOPPED), (False, VerdictKind.BACKEND_HUNG)],
)
def test_who_stays_stopped_hangs(*, is_vmm: bool, kind: VerdictKind) -> None:
    """Only after the limit, however surely it is stopped before."""
    early, late = (judged_stop(STOPPED, ms * MS, is_vmm=is_vmm) for ms in (19, 20))

    assert isinstance(early, LookAgain)
    assert isinstance(late, Confirmed)
    assert late.kind is kind


def test_who_goes_on_or_ended_is_not_stopped() -> None:
    """The signal alone is not believed, nor is a stop that was ended."""
    assert isinstance(judged_stop(ALIVE, 19 * MS), LookAgain)
    assert isinstance(judged_stop(ALIVE, 20 * MS), Refuted)
    assert isinstance(judged_stop(ABSENT, 20 * MS), Refuted)
