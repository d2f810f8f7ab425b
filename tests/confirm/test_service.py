# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from observer.clock import MS
from observer.confirm.service import (
    Moment,
    PartLook,
    answer_time_ns,
    judge_fall,
    judge_part,
    judge_service,
)
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

OWING = PartLook(beats=7, done=5, given=9)


def judged_service(
    sign_ns: int = 100,
    fair_ns: int = 20 * MS,
    age_ns: int = 20 * MS,
    *,
    asked: bool = True,
) -> Look:
    return judge_service(
        name="net",
        first_sign_ns=100,
        sign_ns=sign_ns,
        fair_ns=fair_ns,
        age_ns=age_ns,
        late_ns=30 * MS,
        since_ns=0,
        asked=asked,
    )


def judged_part(
    now: PartLook, age_ns: int = 10 * MS, *, back_end_owes: bool = False
) -> Look:
    return judge_part(
        name="net/nic",
        first=OWING,
        now=now,
        back_end_owes=back_end_owes,
        age_ns=age_ns,
        late_ns=30 * MS,
        since_ns=0,
        silence_ns=30 * MS,
    )


def after(**changes: int) -> PartLook:
    return msgspec.structs.replace(OWING, beats=8, **changes)


def test_a_beat_refutes() -> None:
    """One sign since the suspicion is enough, however late."""
    assert judged_service(sign_ns=101) == Refuted("it beats")


def test_a_service_has_time_to_answer() -> None:
    """On its fair clock: a vCPU that waits for a CPU cannot."""
    assert judged_service(fair_ns=4 * MS) == LookAgain(1 * MS, "it may still answer")
    assert judged_service(fair_ns=0) == LookAgain(2 * MS, "it may still answer")
    assert isinstance(judged_service(fair_ns=4 * MS, age_ns=1001 * MS), Refuted)


def test_a_vmm_that_takes_no_request_may_be_ending() -> None:
    """Then its exit is heard of, unless it takes too long."""
    assert isinstance(judged_service(fair_ns=499 * MS, asked=False), LookAgain)


@pytest.mark.parametrize(("asked", "fair_ns"), [(True, 5 * MS), (False, 500 * MS)])
def test_silence_is_a_hang_and_says_whether_it_was_asked(
    fair_ns: int, *, asked: bool
) -> None:
    """Where the control port cannot be reached the beats decide."""
    look = judged_service(fair_ns=fair_ns, asked=asked)

    assert isinstance(look, Confirmed)
    assert (look.kind, look.subject) == (VerdictKind.SERVICE_HUNG, "net")
    assert ("does not answer" in look.evidence) == asked


@pytest.mark.parametrize(
    ("before", "now", "counted_ms"),
    [
        ({}, {}, 20),
        ({}, {"runnable": True, "runtime_ns": 5 * MS}, 20),
        ({}, {"runnable": True, "runtime_ns": 4 * MS}, 0),
        ({"held": True}, {}, 0),
        ({}, {"held": True}, 0),
    ],
)
def test_time_counts_when_the_guest_could_use_it(
    before: dict[str, int], now: dict[str, int], counted_ms: int
) -> None:
    """Asleep in its guest or at work; not waiting for a CPU, nor in its VMM's hands."""
    asleep = Moment(now_ns=0, runtime_ns=0, runnable=False, held=False)
    first = msgspec.structs.replace(asleep, **before)
    second = msgspec.structs.replace(asleep, now_ns=20 * MS, **now)

    assert answer_time_ns(first, second) == counted_ms * MS


@pytest.mark.parametrize("now", [after(done=6), after(done=9)])
def test_work_refutes(now: PartLook) -> None:
    """Some of it, or all."""
    assert judged_part(now) == Refuted("it does its work")


def test_a_part_cannot_work_against_its_back_end() -> None:
    """A ring that vhost does not serve fills up: that is not the part's fault."""
    assert isinstance(judged_part(after(), back_end_owes=True), LookAgain)
    late = judged_part(after(), back_end_owes=True, age_ns=31 * MS)
    assert isinstance(late, Refuted)


def test_one_beat_is_not_two_looks() -> None:
    """The same beat read twice says nothing new; a silent service is another case."""
    same = msgspec.structs.replace(OWING)

    assert isinstance(judged_part(same), LookAgain)
    assert isinstance(judged_part(same, age_ns=31 * MS), Refuted)


def test_a_part_that_owes_through_two_beats_hangs() -> None:
    """What it owes is counted modulo 2^32."""
    first = PartLook(beats=7, done=2**32 - 2, given=2)
    look = judge_part(
        name="net/nic",
        first=first,
        now=msgspec.structs.replace(first, beats=8),
        back_end_owes=False,
        age_ns=6 * MS,
        late_ns=25 * MS,
        since_ns=3,
        silence_ns=30 * MS,
    )

    assert isinstance(look, Confirmed)
    assert (look.kind, look.subject) == (VerdictKind.PART_HUNG, "net/nic")
    assert look.since_ns == 3
    assert "owes 4" in look.evidence


def test_a_triple_fault_is_the_end_of_a_service_alone() -> None:
    """Linux guests reset so; and one that made an exit since has been reset."""

    def judged(*, is_service: bool = True, fell: bool = True) -> Look:
        return judge_fall(
            name="net",
            is_service=is_service,
            vcpu=0,
            fell=fell,
            panics=False,
            since_ns=5,
        )

    look = judged()
    assert isinstance(look, Confirmed)
    assert (look.kind, look.subject) == (VerdictKind.SERVICE_CRASHED, "net")
    assert judged(is_service=False) == Refuted("its guest resets itself")
    assert judged(fell=False) == Refuted("its vCPU runs on")


def test_one_that_panics_need_not_fall_first() -> None:
    """Its last words take an exit for each letter; what no service says is nothing."""

    def judged(*, is_service: bool) -> Look:
        return judge_fall(
            name="net",
            is_service=is_service,
            vcpu=0,
            fell=False,
            panics=True,
            since_ns=5,
        )

    look = judged(is_service=True)
    assert isinstance(look, Confirmed)
    assert (look.kind, look.since_ns) == (VerdictKind.SERVICE_CRASHED, 5)
    assert "says that it panics" in look.evidence
    assert judged(is_service=False) == Refuted("its guest resets itself")
