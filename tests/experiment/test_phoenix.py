# SPDX-License-Identifier: Apache-2.0
"""When Phoenix's loop asks a service, what answers, and when its slice is over."""

from __future__ import annotations

import pytest
from experiment_program import program

from observer.clock import MS

PHOENIX = program("phoenix/phoenix.py")
Part, Pulse, Standing = PHOENIX.Part, PHOENIX.Pulse, PHOENIX.Standing
VALID_NS, ANSWER_NS = 15 * MS, 5 * MS
RULE = PHOENIX.Rule(VALID_NS, ANSWER_NS)
ASKED = Pulse(sign_ns=100 * MS, asked_ns=115 * MS, slice_ns=115 * MS)


def test_a_service_is_asked_when_no_sign_is_valid_any_more() -> None:
    """And judged when its slice has passed; said once."""
    quiet = Pulse(sign_ns=100 * MS)
    assert not PHOENIX.what_is_due(quiet, 115 * MS - 1, RULE)
    assert PHOENIX.what_is_due(quiet, 115 * MS, RULE) == "ask"

    assert not PHOENIX.what_is_due(ASKED, 120 * MS - 1, RULE)
    assert PHOENIX.what_is_due(ASKED, 120 * MS, RULE) == "judge"
    said = Pulse(100 * MS, 115 * MS, 115 * MS, said=True)
    assert not PHOENIX.what_is_due(said, 999 * MS, RULE)


def test_a_slice_begins_when_the_question_can_be_heard() -> None:
    """Not while the control port serves somebody else."""
    late = Pulse(sign_ns=100 * MS, asked_ns=115 * MS, slice_ns=118 * MS)
    assert not PHOENIX.what_is_due(late, 120 * MS, RULE)
    assert PHOENIX.what_is_due(late, 123 * MS, RULE) == "judge"


def test_a_beat_that_comes_after_the_question_is_the_answer() -> None:
    """At its own time; one from before is none, and nor is one unasked."""
    assert PHOENIX.pulse_after(ASKED, 115 * MS - 1) is ASKED
    assert PHOENIX.pulse_after(ASKED, 117 * MS) == Pulse(sign_ns=117 * MS)
    unasked = Pulse(sign_ns=100 * MS)
    assert PHOENIX.pulse_after(unasked, 110 * MS) is unasked


def test_who_was_said_to_hang_is_well_with_its_next_beat() -> None:
    """It answers the question that it has owed."""
    said = Pulse(100 * MS, 115 * MS, 115 * MS, said=True)
    assert PHOENIX.pulse_after(said, 900 * MS) == Pulse(sign_ns=900 * MS)


@pytest.mark.parametrize(
    ("now", "is_ready", "used_ms"),
    [
        (Standing(10 * MS), False, 10),  # it slept
        (Standing(10 * MS, ran_ns=1 * MS, waited_ns=7 * MS), False, 3),
        (Standing(10 * MS, ran_ns=9 * MS), True, 9),  # it spins
        # it waits: the kernel has counted none of that yet, or a part
        (Standing(10 * MS), True, 0),
        (Standing(30 * MS, ran_ns=4 * MS, waited_ns=9 * MS), True, 4),
    ],
)
def test_no_slice_passes_while_a_vcpu_waits_for_a_cpu(
    now: PHOENIX.Standing,
    is_ready: bool,  # noqa: FBT001 - a parameter of the test
    used_ms: int,
) -> None:
    """What it ran or slept counts."""
    assert PHOENIX.used_ns(Standing(0), now, is_ready=is_ready) == used_ms * MS


def test_the_end_of_a_slice_is_not_slept_through() -> None:
    """It may come before the next turn; one that is past is looked at with the turn."""
    due_ns = 122 * MS
    assert PHOENIX.wake_ns(due_ns, 117 * MS, [Pulse(100 * MS)], RULE) == due_ns
    assert PHOENIX.wake_ns(due_ns, 117 * MS, [ASKED], RULE) == 120 * MS
    assert PHOENIX.wake_ns(due_ns, 120 * MS, [ASKED], RULE) == due_ns
    said = Pulse(100 * MS, 115 * MS, 115 * MS, said=True)
    assert PHOENIX.wake_ns(due_ns, 117 * MS, [said], RULE) == due_ns


def test_a_part_hangs_whose_index_stands_though_it_has_work() -> None:
    """Not one that works slowly, and not one that has nothing to do."""
    part, said = Part(5, 0), []
    for ms, private, shared in (
        *((5, 5, 5), (10, 5, 9), (15, 6, 9), (20, 6, 9)),
        *((25, 6, 12), (30, 6, 12), (35, 6, 12), (40, 12, 12)),
    ):
        part, is_due = PHOENIX.part_after(part, (private, shared), ms * MS, VALID_NS)
        if is_due:
            said.append(ms)

    assert said == [30]
    assert part == Part(12, 40 * MS)
