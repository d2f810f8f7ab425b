# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS
from observer.confirm.guest import (
    NETWORK_DOWN,
    GuestLook,
    fair_step_ns,
    has_consumed,
    judge_guest,
    sleeps_over,
)
from observer.inventory.guest_memory import RingWords
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

ASKED_NS = 1000 * MS
LIMIT_NS = 50 * MS


AT_REST = RingWords(avail=256, used=7, used_event=7)


def a_guest(
    words: RingWords = AT_REST,
    *,
    sign_ns: int = 0,
    sleeping: bool = False,
    visible: bool = True,
    stands_unread: bool = False,
) -> GuestLook:
    return GuestLook(sign_ns, {3: words}, sleeping, visible, stands_unread)


def judged(
    asked: GuestLook,
    now: GuestLook,
    fair_ns: int = LIMIT_NS,
    elapsed_ns: int = LIMIT_NS,
    tap: str | None = "tap0",
    *,
    called_ns: int | None = None,
) -> Look:
    return judge_guest(
        asked=asked,
        now=now,
        asked_ns=ASKED_NS,
        called_ns=called_ns,
        since_ns=0,
        fair_ns=fair_ns,
        elapsed_ns=elapsed_ns,
        limit_ns=LIMIT_NS,
        tap=tap,
    )


def test_a_frame_that_lies_in_the_ring_unconsumed_is_a_hang() -> None:
    """The back end delivered, the guest's index stands still: the guest hangs."""
    look = judged(a_guest(), a_guest(RingWords(256, 8, 7)))

    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.GUEST_HUNG
    assert look.subject == "guest"
    assert "used 8, consumed 7" in look.evidence


def test_consumption_refutes() -> None:
    """A guest that moves used_event lives, however busy it is."""
    assert isinstance(judged(a_guest(), a_guest(RingWords(256, 8, 8))), Refuted)


def test_refilling_the_ring_refutes() -> None:
    """A guest that offers new buffers has consumed old ones."""
    assert isinstance(judged(a_guest(), a_guest(RingWords(257, 8, 7))), Refuted)


def test_a_sign_after_the_question_refutes() -> None:
    """A HLT or a kick after the question is an answer, one before it is not."""
    unread = RingWords(256, 8, 7)
    late = a_guest(unread, sign_ns=ASKED_NS + 1)
    early = a_guest(unread, sign_ns=ASKED_NS)

    assert isinstance(judged(a_guest(), late), Refuted)
    assert isinstance(judged(a_guest(), early), Confirmed)


def test_one_that_slept_over_it_is_known_by_what_it_does_when_called() -> None:
    """It missed its call, or wants nothing of its network, or hangs."""
    unread, read = RingWords(256, 8, 7), RingWords(256, 8, 8)
    called_ns = ASKED_NS + 10 * MS
    wakes = a_guest(unread, sign_ns=called_ns + 1, sleeping=True)
    sleeps = a_guest(unread, sign_ns=called_ns, sleeping=True)

    missed = judged(a_guest(unread), a_guest(read), called_ns=called_ns)
    assert isinstance(missed, Confirmed)
    assert "called again" in missed.evidence
    down = judged(a_guest(unread), wakes, called_ns=called_ns)
    assert down == Refuted(NETWORK_DOWN)
    hangs = judged(a_guest(unread), sleeps, called_ns=called_ns)
    assert isinstance(hangs, Confirmed)
    assert "called again or not" in hangs.evidence
    more = judged(a_guest(unread), sleeps, called_ns=called_ns, fair_ns=0)
    assert isinstance(more, LookAgain)


def test_it_is_called_again_only_where_it_slept_over_something_twice() -> None:
    """One that lacks a CPU does not sleep; one that is just sent it has its call."""
    unread, more, read = (RingWords(256, u, c) for u, c in ((8, 7), (9, 7), (8, 8)))
    asleep, awake = a_guest(unread, sleeping=True), a_guest(unread)

    assert sleeps_over(asleep, a_guest(more, sleeping=True))
    assert not sleeps_over(awake, asleep)
    assert not sleeps_over(asleep, awake)
    assert not sleeps_over(a_guest(AT_REST, sleeping=True), asleep)
    assert not sleeps_over(asleep, a_guest(read, sleeping=True))
    assert has_consumed(a_guest(read))
    assert not has_consumed(awake)


def test_one_that_lives_on_has_time_to_show_that_it_sleeps_over_it() -> None:
    """Its signs of life alone do not end the look, and are no failure either."""
    unread = RingWords(256, 8, 7)
    lives = a_guest(unread, sign_ns=ASKED_NS + 1, stands_unread=True)

    assert isinstance(judged(a_guest(unread), lives, fair_ns=0), LookAgain)
    assert isinstance(judged(a_guest(unread), lives), Refuted)


def test_a_guest_that_got_no_cpu_has_more_time() -> None:
    """Only time in which the guest could run counts; in the end we give up."""
    unread = a_guest(RingWords(256, 8, 7))

    starved = judged(a_guest(), unread, fair_ns=0, elapsed_ns=1000 * MS)
    hopeless = judged(a_guest(), unread, fair_ns=0, elapsed_ns=10_000 * MS)

    assert isinstance(starved, LookAgain)
    assert isinstance(hopeless, Refuted)


def test_a_frame_that_was_not_delivered_is_not_the_guests_fault() -> None:
    """Where the back end moved nothing the guest owes nothing."""
    assert isinstance(judged(a_guest(), a_guest()), Refuted)


def test_a_full_ring_that_nobody_empties_is_a_hang() -> None:
    """The back end cannot deliver because the guest has not consumed for long."""
    full = RingWords(256, 256, 7)
    assert isinstance(judged(a_guest(full), a_guest(full)), Confirmed)


def test_without_a_tap_there_is_no_verdict() -> None:
    """Silence alone, of a guest that nobody could ask, is not evidence."""
    unread = a_guest(RingWords(256, 8, 7))
    assert isinstance(judged(a_guest(), unread, tap=None), Refuted)


def test_without_event_idx_only_sleep_tells() -> None:
    """A ring that hides consumption convicts a guest that slept through the call."""
    busy = a_guest(RingWords(256, 8, 0), visible=False)
    asleep = a_guest(RingWords(256, 8, 0), visible=False, sleeping=True)
    before = a_guest(RingWords(256, 7, 0), visible=False)

    assert isinstance(judged(before, busy), Refuted)
    assert isinstance(judged(before, asleep), Confirmed)


@given(
    elapsed_ns=st.integers(1, 10**9),
    ran_ns=st.integers(0, 10**9),
    runnable=st.booleans(),
)
def test_a_step_counts_whole_or_not_at_all(
    elapsed_ns: int, ran_ns: int, *, runnable: bool
) -> None:
    """Time in which a runnable task did not run is the host's, all else the guest's."""
    step = fair_step_ns(elapsed_ns, runnable, ran_ns)

    assert step in (0, elapsed_ns)
    assert step == elapsed_ns or (runnable and ran_ns < elapsed_ns)
