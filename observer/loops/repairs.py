# SPDX-License-Identifier: Apache-2.0
"""The thin edge round the loops: takes verdicts, gives orders, writes the journal.

Who may do what, and when, is decided by pure functions (`local_loop`, `global_loop`);
here are the clock, the tasks and the actuators.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from observer.actuators import Actuator, Settling
from observer.clock import MS, SECOND
from observer.errors import HostError, ObserverError, UnfitError
from observer.loops.global_loop import SETTLE_NS, Choice, Key, choose
from observer.loops.graph import RepairGraph
from observer.loops.local_loop import (
    LocalLoop,
    State,
    acted,
    begin,
    confirmed,
    escalate,
    expired,
    found_again,
    paid,
    resumed,
    step_of,
    unfit,
)
from observer.model import Outcome, Repair, Result, Step, StepKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from observer.clock import Clock
    from observer.journal import Journal, Unfinished
    from observer.loops.policy import RepairPolicy

__all__ = ["Repairs"]

# The cells tell nobody that a debt was paid: they are looked at while somebody waits.
VERIFY_NS = 5 * MS
RECHECK_NS = 500 * MS
AT_WORK = (State.REPAIRING, State.VERIFYING)


def _key_of(verdict: Verdict) -> Key:
    return verdict.vm, verdict.subject


class Repairs:
    """Every repair of a host that is under way."""

    def __init__(  # noqa: PLR0913 - all that it touches is an argument
        self,
        policy: RepairPolicy,
        clock: Clock,
        actuators: Mapping[StepKind, Actuator],
        journal: Journal,
        *,
        is_well: Callable[[Verdict], bool],
        suspected: Callable[[], Collection[str]] = tuple,
        on_outcome: Callable[[Outcome, Verdict], None],
        on_healed: Callable[[], None] = lambda: None,
        on_error: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._policy, self._clock = policy, clock
        self._actuators, self._journal = actuators, journal
        self._is_well, self._suspected = is_well, suspected
        self._on_outcome = on_outcome
        self._on_healed, self._on_error = on_healed, on_error
        self._graph = RepairGraph(policy.uses)
        self.loops: dict[Key, LocalLoop] = {}
        self._verdicts: dict[Key, int] = {}
        self._steps: dict[Key, int] = {}
        self._acts: dict[Key, asyncio.Task[None]] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._healed_ns: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        since_ns = clock.now_ns() - policy.rates.window_ns
        self._begun = deque(sorted(journal.begun_since(since_ns)))
        # read before a verdict of our own is in it, which would be begun a second time
        self._left = journal.unfinished()

    # -- what comes in ------------------------------------------------------------

    def take(self, verdict: Verdict) -> None:
        """Begin what the policy wants done about a verdict."""
        if not self._policy.cares_for(verdict.vm):
            return
        if self._policy.dry_run:
            self._tell(self._fresh(verdict), None, Result.WOULD, self.plan(verdict))
        else:
            self.mend(verdict)

    def _fresh(self, verdict: Verdict) -> LocalLoop:
        ladder = self._policy.ladder(verdict.kind)
        return confirmed(verdict, ladder, self._clock.now_ns())

    def mend(self, verdict: Verdict) -> None:
        """Begin the repair, whether or not the policy cares for this VM."""
        key, now_ns = _key_of(verdict), self._clock.now_ns()
        for left in [left for left in self._left if _key_of(left.verdict) == key]:
            self._left.remove(left)
            self._take_up(left)
        loop = self._fresh(verdict)
        before = self.loops.get(key)
        if before is not None and not before.over:
            self._move(key, found_again(before, verdict, now_ns))
        else:
            try:
                number = self._journal.found(verdict)
            except HostError as e:  # what cannot be written down is not done
                self._tell(loop, None, Result.ESCALATED, e.message)
                return
            self._enter(key, number, loop)
        self._turn()

    def resume(self) -> None:
        """Go on with what an observer before us left: nothing is done twice.

        What it began is looked at first; what is well by now is only written down.
        """
        while self._left:
            self._take_up(self._left.pop(0))
        if self.loops:
            self._turn()

    def _take_up(self, left: Unfinished) -> None:
        verdict, now_ns = left.verdict, self._clock.now_ns()
        if left.step is not None:
            self._settle(left.step, verdict)
        if not self._policy.cares_for(verdict.vm) or self._policy.dry_run:
            why = "the policy does not care for it any more"
            self._journal.ended(left.id, Result.FAILED, why, now_ns)
            return
        loop = resumed(
            verdict,
            self._policy.ladder(verdict.kind),
            now_ns,
            rung=left.rung,
            attempt=left.attempt,
            settle_ns=SETTLE_NS,
        )
        self._enter(_key_of(verdict), left.id, loop)

    def _settle(self, step: StepKind, verdict: Verdict) -> None:
        """Have its second half done, if it has one: whatever the policy says by now."""
        actuator = self._actuators[step]
        if not isinstance(actuator, Settling):
            return
        repair = Repair(verdict, Step(step, SETTLE_NS), 1)
        task = asyncio.create_task(self._second_half(actuator, repair))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _second_half(self, actuator: Settling, repair: Repair) -> None:
        try:
            await actuator.settle(repair)
        except UnfitError:
            return  # the VM is gone, and its halves with it
        except ObserverError as e:
            self._on_error(f"{repair.step.do} may be half done: {e.message}")

    def _enter(self, key: Key, number: int, loop: LocalLoop) -> None:
        self._verdicts[key] = number
        self.loops[key] = loop
        if loop.state is State.ESCALATED:  # it has no ladder
            self._end(key, loop, Result.ESCALATED)

    def plan(self, verdict: Verdict) -> str:
        """What the first step that fits would do."""
        why = "no step is known for it"
        for step in self._policy.ladder(verdict.kind):
            try:
                repair = Repair(verdict, step, 1)
                return f"{step.do}: {self._actuators[step.do].plan(repair)}"
            except UnfitError as e:
                why = f"{step.do}: {e.message}"
        return f"tell somebody: {why}"

    # -- one turn -----------------------------------------------------------------

    def _turn(self) -> None:
        """See what is due, whose turn it is, and when to look again."""
        now_ns = self._clock.now_ns()
        for key, loop in list(self.loops.items()):
            if loop.state is not State.REPAIRING and self._is_well(loop.verdict):
                self._move(key, paid(loop, now_ns))
            else:
                self._move(key, expired(loop, now_ns))
        self._forget_begun(now_ns)
        choice = self._choose(now_ns)
        while [key for key in choice.begin if self._passes_over(key, now_ns)]:
            choice = self._choose(now_ns)
        for key, why in choice.held.items():
            self.loops[key] = msgspec.structs.replace(self.loops[key], why=why)
        for key, why in choice.give_up.items():
            self._move(key, escalate(self.loops[key], why, now_ns))
        for key in choice.begin:
            self._begin(key, now_ns)
        self._look_again(now_ns, choice.again_ns)

    def _choose(self, now_ns: int) -> Choice:
        return choose(
            self.loops,
            self._graph,
            self._policy.rates,
            begun=self._begun,
            healed_ns=self._healed_ns,
            suspected=self._suspected(),
            now_ns=now_ns,
        )

    def _passes_over(self, key: Key, now_ns: int) -> bool:
        """A step that its actuator calls unfit is not one that has failed.

        Asked of those alone whose turn it is: what a back end's repair needs comes back
        with its VM.
        """
        loop = self.loops[key]
        try:
            step = step_of(loop)
            self._actuators[step.do].plan(Repair(loop.verdict, step, 1))
        except UnfitError as e:
            self._move(key, unfit(loop, e.message, now_ns))
            return True
        return False

    def _forget_begun(self, now_ns: int) -> None:
        while self._begun and self._begun[0][0] < now_ns - self._policy.rates.window_ns:
            self._begun.popleft()

    def _look_again(self, now_ns: int, again_ns: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.loops:
            return
        states = {loop.state for loop in self.loops.values()}
        pause_ns = VERIFY_NS if State.VERIFYING in states else RECHECK_NS
        ends_ns = [loop.until_ns for loop in self.loops.values()]
        ends_ns += [] if again_ns is None else [again_ns]
        after = max(0, min(pause_ns, min(ends_ns) - now_ns)) / SECOND
        self._timer = asyncio.get_running_loop().call_later(after, self._turn)

    # -- acting ---------------------------------------------------------------------

    def _begin(self, key: Key, now_ns: int) -> None:
        before = self.loops[key]
        loop = begin(before, now_ns)
        repair = Repair(loop.verdict, step_of(loop), loop.attempt)
        try:
            self._steps[key] = self._journal.intend(
                self._verdicts[key], repair, loop.rung, now_ns
            )
        except HostError as e:  # what cannot be written down is not done
            self._move(key, escalate(before, e.message, now_ns))
            return
        if not before.has_begun:
            self._begun.append((now_ns, loop.verdict.vm))
        self.loops[key] = loop
        self._acts[key] = asyncio.create_task(self._act(key, repair))

    async def _act(self, key: Key, repair: Repair) -> None:
        error, fits = None, True
        try:
            await self._actuators[repair.step.do].act(repair)
        except UnfitError as e:
            error, fits = e.message, False
        except ObserverError as e:
            error = e.message
        except Exception as e:  # noqa: BLE001 - the other repairs go on
            error = f"a bug in observer: {e!r}"
        if self._acts.get(key) is not asyncio.current_task():
            return  # its deadline has passed, though it would not be cancelled
        del self._acts[key]
        now_ns = self._clock.now_ns()
        self._move(key, acted(self.loops[key], now_ns, error, fits=fits))
        self._turn()

    # -- what goes out --------------------------------------------------------------

    def _move(self, key: Key, loop: LocalLoop) -> None:
        """Enter a new state, and tell of what ended with the old one."""
        before, self.loops[key] = self.loops[key], loop
        if before.state in AT_WORK and loop.state not in AT_WORK:
            self._end_step(key, before, loop)
        if loop.state is before.state:
            return
        if loop.state is State.HEALTHY:
            if before.state is not State.ESCALATED:
                by_us = Result.REPAIRED if before.has_begun else Result.RECOVERED
                self._end(key, before, by_us)
                self._healed_ns[loop.verdict.vm] = self._clock.now_ns()
                self._on_healed()
            del self.loops[key], self._verdicts[key]
        elif loop.state is State.ESCALATED:
            self._end(key, loop, Result.ESCALATED)

    def _end_step(self, key: Key, before: LocalLoop, loop: LocalLoop) -> None:
        if act := self._acts.pop(key, None):
            act.cancel()  # its deadline has passed
        well = loop.state is State.HEALTHY
        result, why = (Result.REPAIRED, "") if well else (Result.FAILED, loop.why)
        step = self._steps.pop(key)
        self._write(lambda ns: self._journal.step_ended(step, result, why, ns))
        if not well:
            self._tell(before, step_of(before).do, result, why)

    def _end(self, key: Key, loop: LocalLoop, result: Result) -> None:
        number, why = self._verdicts[key], loop.why
        self._write(lambda ns: self._journal.ended(number, result, why, ns))
        step = step_of(loop).do if result is Result.REPAIRED else None
        self._tell(loop, step, result, "" if result is Result.REPAIRED else why)

    def _write(self, write: Callable[[int], None]) -> None:
        """Write what has been done: where that fails it is done all the same."""
        try:
            write(self._clock.now_ns())
        except HostError as e:
            self._on_error(e.message)

    def _tell(
        self, loop: LocalLoop, step: StepKind | None, result: Result, why: str
    ) -> None:
        now_ns, verdict = self._clock.now_ns(), loop.verdict
        self._on_outcome(
            Outcome(
                time=datetime.now(UTC).isoformat(),
                monotonic_ns=now_ns,
                vm=verdict.vm,
                subject=verdict.subject,
                kind=verdict.kind,
                step=step,
                result=result,
                took_ns=now_ns - verdict.monotonic_ns,
                why=why,
            ),
            verdict,
        )

    def close(self) -> None:
        """Stop; what is half done is found in the journal by the next observer."""
        if self._timer is not None:
            self._timer.cancel()
        for act in (*self._acts.values(), *self._settling):
            act.cancel()
