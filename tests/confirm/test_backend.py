# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from observer.clock import MS
from observer.confirm.backend import (
    BackEndLook,
    blame_vmm,
    halted_since,
    judge_back_end,
    judge_unkicked,
)
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

OWING = BackEndLook(taken=5, state="S", runtime_ns=0, waited_ns=0)


def judged(
    first: BackEndLook = OWING,
    now: BackEndLook = OWING,
    late_ns: int = 30 * MS,
    age_ns: int = 10 * MS,
    *,
    uncalled: bool = False,
    in_kernel: bool = True,
    owes: bool = True,
) -> Look:
    return judge_back_end(
        owes=owes,
        first=first,
        now=now,
        limit_ns=20 * MS,
        starved_ns=50 * MS,
        late_ns=late_ns,
        age_ns=age_ns,
        since_ns=0,
        ring="transmit ring 1",
        server="vhost-7",
        uncalled=uncalled,
        in_kernel=in_kernel,
    )


def changed(**changes: object) -> BackEndLook:
    return msgspec.structs.replace(OWING, **changes)


def test_two_looks_at_a_standstill_are_a_hang() -> None:
    """A back end that could have run and took nothing hangs."""
    look = judged()

    assert isinstance(look, Confirmed)
    assert (look.kind, look.subject) == (VerdictKind.BACKEND_HUNG, "vhost-7")


def test_one_look_is_never_enough() -> None:
    """Right after the suspicion nothing is said yet."""
    assert isinstance(judged(age_ns=0), LookAgain)


@pytest.mark.parametrize("now", [changed(taken=6), changed(state="Z")])
def test_service_or_death_refutes(now: BackEndLook) -> None:
    """It moved on, or its exit is a matter of its own."""
    assert isinstance(judged(now=now), Refuted)


def test_a_debt_that_was_paid_refutes() -> None:
    """Nothing is offered any more that it has not taken."""
    assert isinstance(judged(owes=False), Refuted)


def test_a_process_may_wait_for_its_storage() -> None:
    """One that sleeps, or works, is given a second before it is said to hang."""
    soon, late = (judged(late_ns=ms * MS, in_kernel=False) for ms in (900, 1100))

    assert isinstance(soon, LookAgain)
    assert isinstance(late, Confirmed)
    assert late.kind is VerdictKind.BACKEND_HUNG


def test_a_process_may_wait_for_its_turn() -> None:
    """On a busy host also 80 ms, seen in ten minutes of silent cases."""
    waits = changed(state="R")
    soon, late = (
        judged(now=waits, late_ns=ms * MS, in_kernel=False) for ms in (80, 1100)
    )

    assert isinstance(soon, LookAgain)
    assert isinstance(late, Confirmed)
    assert late.kind is VerdictKind.BACKEND_STARVED


def test_a_stopped_back_end_hangs_at_once() -> None:
    """SIGSTOP shows in /proc; no more time is needed."""
    look = judged(now=changed(state="T"), age_ns=0)
    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.BACKEND_HUNG


def test_waiting_for_a_cpu_is_starvation_not_a_hang() -> None:
    """Runnable and not running: restarting it would help nobody."""
    waits = changed(state="R")

    soon = judged(now=waits, late_ns=30 * MS)
    long = judged(now=waits, late_ns=60 * MS)

    assert isinstance(soon, LookAgain)
    assert isinstance(long, Confirmed)
    assert long.kind is VerdictKind.BACKEND_STARVED


def test_a_busy_back_end_that_serves_nothing_hangs() -> None:
    """Runnable and running, yet its index stands still: a livelock."""
    look = judged(now=changed(state="R", runtime_ns=9 * MS))
    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.BACKEND_HUNG


def test_uninterruptible_sleep_is_the_storages_fault() -> None:
    """A disk may take its time; a second of it is a verdict, and not a restart."""
    sleeps = changed(state="D")

    assert isinstance(judged(now=sleeps, late_ns=100 * MS), LookAgain)
    look = judged(now=sleeps, late_ns=1500 * MS)
    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.BACKEND_BLOCKED


def test_time_spent_waiting_does_not_count() -> None:
    """What it waited for a CPU between the looks is taken out of its lateness."""
    assert isinstance(judged(now=changed(waited_ns=15 * MS)), LookAgain)


def test_a_kick_that_was_taken_is_given_time() -> None:
    """A live process that took the kick may be at work; a stopped one is not."""
    assert isinstance(judged(uncalled=True), LookAgain)
    assert isinstance(judged(uncalled=True, age_ns=2000 * MS), Refuted)
    assert isinstance(judged(uncalled=True, now=changed(state="T")), Confirmed)


def unkicked(
    now: BackEndLook = OWING,
    age_ns: int = 10 * MS,
    *,
    owes: bool = True,
    kicked: bool = False,
    at_rest: bool = True,
) -> Look:
    return judge_unkicked(
        owes=owes,
        kicked=kicked,
        at_rest=at_rest,
        first=OWING,
        now=now,
        late_ns=30 * MS,
        age_ns=age_ns,
        since_ns=7,
        ring="transmit ring 1",
        server="vhost-7",
    )


def test_a_kick_that_nobody_makes_any_more_is_lost() -> None:
    """What was offered stays, and the guest has gone to rest since."""
    look = unkicked()

    assert isinstance(look, Confirmed)
    assert (look.kind, look.subject) == (VerdictKind.BACKEND_HUNG, "vhost-7")
    assert "no kick has reached it" in look.evidence


def test_a_guest_may_be_about_to_kick() -> None:
    """It may have lost its CPU between the offer and the kick: that proves nothing."""
    assert isinstance(unkicked(at_rest=False), LookAgain)
    assert isinstance(unkicked(at_rest=False, age_ns=2000 * MS), Refuted)
    assert isinstance(unkicked(age_ns=0), LookAgain)


@pytest.mark.parametrize(
    "look",
    [
        unkicked(owes=False),
        unkicked(kicked=True),
        unkicked(changed(taken=6)),
        unkicked(changed(state="X")),
    ],
)
def test_a_kick_that_came_late_was_not_lost(look: Look) -> None:
    """Nor was one that was not needed, or whose ring has nobody any more."""
    assert isinstance(look, Refuted)


@pytest.mark.parametrize(
    ("halt_ns", "own_ns", "asleep", "rested"),
    [
        (101, 150, False, True),  # since, and on from there
        (99, 99, True, True),  # it sleeps in it still
        (99, 99, False, False),  # it runs again, and has made no exit yet
        (99, 120, True, False),  # asleep for another reason
        (0, 0, False, False),
    ],
)
def test_a_vcpu_that_has_halted_is_amidst_nothing(
    halt_ns: int, own_ns: int, *, asleep: bool, rested: bool
) -> None:
    """Only a HLT after the moment, or one that lasts, says so."""
    said = halted_since(since_ns=100, halt_ns=halt_ns, own_ns=own_ns, asleep=asleep)

    assert said is rested


@pytest.mark.parametrize(
    ("found", "stopped", "said"),
    [
        (VerdictKind.BACKEND_HUNG, False, VerdictKind.VMM_HUNG),
        (VerdictKind.BACKEND_HUNG, True, VerdictKind.VMM_STOPPED),
        (VerdictKind.BACKEND_STARVED, False, VerdictKind.BACKEND_STARVED),
        (VerdictKind.BACKEND_BLOCKED, False, VerdictKind.BACKEND_BLOCKED),
    ],
)
def test_a_vmm_that_the_host_holds_up_does_not_hang(
    found: VerdictKind, said: VerdictKind, *, stopped: bool
) -> None:
    """It is named in all cases, and blamed for what it does itself."""
    look = Confirmed(found, "qemu-system-x86_64", 7, "why")

    assert blame_vmm(look, "db1", stopped=stopped) == Confirmed(said, "db1", 7, "why")
