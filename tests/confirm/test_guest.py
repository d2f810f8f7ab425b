# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS
from observer.confirm.guest import GuestLook, fair_step_ns, judge_guest
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
) -> GuestLook:
    return GuestLook(sign_ns, {3: words}, sleeping, visible)


def judged(
    asked: GuestLook,
    now: GuestLook,
    fair_ns: int = LIMIT_NS,
    elapsed_ns: int = LIMIT_NS,
    tap: str | None = "tap0",
) -> Look:
    return judge_guest(
        asked=asked,
        now=now,
        asked_ns=ASKED_NS,
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
