# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from observer.clock import MS, SECOND
from observer.loops.local_loop import (
    LocalLoop,
    State,
    acted,
    begin,
    confirmed,
    expired,
    paid,
    step_of,
)
from observer.model import Step, StepKind, Verdict, VerdictKind

HUNG = Verdict("", 0, "net", "net/nic", VerdictKind.PART_HUNG, 0, 0, "", "")
RESET = Step(StepKind.RESET_PART, 100 * MS, tries=2, cool_down_ns=50 * MS)
RESTART = Step(StepKind.RESTART_SERVICE, 10 * SECOND)
LADDER = (RESET, RESTART)


def fresh(now_ns: int = 0) -> LocalLoop:
    return confirmed(HUNG, LADDER, now_ns)


def test_a_repair_is_over_when_the_debt_is_paid() -> None:
    """Not when the act has returned."""
    loop = acted(begin(fresh(), 1), 2)

    assert loop.state is State.VERIFYING
    assert paid(loop, 3).state is State.HEALTHY


def test_a_step_is_tried_again_after_its_cool_down() -> None:
    """So often as it says; then the next rung comes."""
    loop = acted(begin(fresh(), 0), 1, "no answer")
    assert loop.state is State.COOLING
    assert expired(loop, 50 * MS).state is State.COOLING

    loop = expired(loop, 50 * MS + 1)
    assert (loop.state, step_of(loop)) == (State.CONFIRMED, RESET)
    loop = acted(begin(loop, SECOND), SECOND, "no answer")
    assert (loop.state, step_of(loop)) == (State.CONFIRMED, RESTART)


def test_a_debt_that_is_not_paid_in_time_is_a_failure() -> None:
    """Though the act went well."""
    loop = acted(begin(fresh(), 0), 1)
    loop = expired(loop, 100 * MS)

    assert loop.state is State.COOLING
    assert "not well again within 100 ms" in loop.why


def test_a_step_that_does_not_fit_is_not_tried_again() -> None:
    """The next one is."""
    loop = acted(begin(fresh(), 0), 1, "it has no such part", fits=False)

    assert (loop.state, step_of(loop), loop.attempt) == (State.CONFIRMED, RESTART, 0)


def test_the_last_rung_leads_to_somebody_else() -> None:
    """With the reason of the last failure."""
    loop = confirmed(HUNG, (RESTART,), 0)
    loop = acted(begin(loop, 0), 1, "QEMU ended")

    assert loop.state is State.ESCALATED
    assert loop.why == "restart-service: QEMU ended"
    assert confirmed(HUNG, (), 0).state is State.ESCALATED


def test_what_is_being_done_is_brought_to_its_end() -> None:
    """A debt that is paid meanwhile does not end the act."""
    loop = begin(fresh(), 0)

    assert paid(loop, 1) == loop
    assert paid(acted(loop, 2), 3).state is State.HEALTHY


LADDERS = st.lists(
    st.builds(
        Step,
        st.sampled_from(StepKind),
        st.integers(1, 10 * SECOND),
        st.integers(1, 3),
        st.integers(0, SECOND),
    ),
    max_size=3,
).map(tuple)


class AnyLoop(RuleBasedStateMachine):
    """Whatever happens, each state has an end, and no step is tried too often."""

    loop: LocalLoop
    now_ns = 0

    @initialize(ladder=LADDERS)
    def verdict(self, ladder: tuple[Step, ...]) -> None:
        self.loop = confirmed(HUNG, ladder, self.now_ns)
        self.began: list[tuple[int, int]] = []

    @precondition(lambda self: self.loop.state is State.CONFIRMED)
    @rule()
    def order(self) -> None:
        self.loop = begin(self.loop, self.now_ns)
        self.began.append((self.loop.rung, self.loop.attempt))

    @rule(error=st.sampled_from([None, "no answer"]), fits=st.booleans())
    def act_returns(self, error: str | None, *, fits: bool) -> None:
        self.loop = acted(self.loop, self.now_ns, error, fits=fits)

    @precondition(lambda self: self.loop.state is not State.HEALTHY)
    @rule()
    def deadline_passes(self) -> None:
        before = self.loop
        self.now_ns = max(self.now_ns, self.loop.until_ns)
        self.loop = expired(self.loop, self.now_ns)
        assert self.loop.state is not before.state

    @rule(ns=st.integers(0, SECOND))
    def time_passes(self, ns: int) -> None:
        self.now_ns += ns

    @precondition(lambda self: self.loop.state is not State.ESCALATED)
    @rule()
    def debt_is_paid(self) -> None:
        self.loop = paid(self.loop, self.now_ns)

    @invariant()
    def steps_are_in_order(self) -> None:
        assert self.began == sorted(set(self.began))
        for rung, attempt in self.began:
            assert attempt <= self.loop.ladder[rung].tries

    @invariant()
    def it_waits_for_nothing_without_end(self) -> None:
        loop = self.loop
        longest = 601 * SECOND
        assert loop.state is State.HEALTHY or loop.until_ns <= self.now_ns + longest
        if loop.state is State.ESCALATED:
            assert loop.why

    @invariant()
    def it_can_be_written_down(self) -> None:
        kept = msgspec.json.encode(self.loop)
        assert msgspec.json.decode(kept, type=LocalLoop) == self.loop


TestAnyLoop = AnyLoop.TestCase
