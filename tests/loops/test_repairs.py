# SPDX-License-Identifier: Apache-2.0
"""Verdicts in, orders out, over a host that is made of objects, in no time."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from object_host import RESTART_SECONDS, Restart, Scene

from observer.clock import MS, SECOND
from observer.errors import HostError, ProgramError
from observer.loops.global_loop import Rates
from observer.loops.ladder import LADDERS
from observer.loops.policy import RepairPolicy
from observer.model import Result, StepKind, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import pytest
    from conftest import VirtualTime

    Run = Callable[[Callable[[VirtualTime], Coroutine[None, None, None]]], None]


def test_a_part_is_reset_and_no_more(in_virtual_time: Run, tmp_path: Path) -> None:
    """The finest means that works is the last that is used."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.fault("net", VerdictKind.PART_HUNG)
        await scene.until_over()

        assert scene.results() == [("net/nic", Result.REPAIRED)]
        assert scene.outcomes[0].step is StepKind.RESET_PART
        assert scene.outcomes[0].took_ns < 100 * MS
        assert not scene.host.restarts

    in_virtual_time(main)


def test_a_spare_comes_before_a_restart(in_virtual_time: Run, tmp_path: Path) -> None:
    """Where there is one; the next time there is none left."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.host.spares.add("net")
        for _ in range(2):
            scene.fault("net")
            await scene.until_over()

        assert [o.step for o in scene.outcomes] == [
            StepKind.SWITCH_TO_SPARE,
            StepKind.RESTART_SERVICE,
        ]
        assert scene.host.switches == [("net", 1)]
        assert scene.host.restarts == [("net", 2)]

    in_virtual_time(main)


def test_what_a_reset_does_not_mend_is_restarted(
    in_virtual_time: Run, tmp_path: Path
) -> None:
    """After so many tries as its ladder says; each is told."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.host.stubborn.add("net")
        scene.fault("net", VerdictKind.PART_HUNG)
        await scene.until_over()

        assert scene.host.resets == ["net", "net"]
        failed, repaired = Result.FAILED, Result.REPAIRED
        assert [o.result for o in scene.outcomes] == [failed, failed, repaired]
        assert "not well again within 1000 ms" in scene.outcomes[0].why
        assert scene.host.restarts == [("net", 1)]

    in_virtual_time(main)


def test_all_at_once_come_back_in_order(in_virtual_time: Run, tmp_path: Path) -> None:
    """Those that use nothing broken side by side."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        began = loop.time()
        for name in ("net", "disk", "store"):
            scene.fault(name)
        await scene.until_over()

        assert scene.host.restarts == [("store", 1), ("net", 1), ("disk", 1)]
        assert loop.time() - began < 2 * RESTART_SECONDS + 0.7

    in_virtual_time(main)


def test_who_died_last_is_told_last(in_virtual_time: Run, tmp_path: Path) -> None:
    """A user's end was told first, for it had less memory to give back."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.host.suspected = {"net"}
        scene.fault("web-1")
        await asyncio.sleep(0.15)
        assert not scene.host.restarts
        scene.host.suspected = set()
        scene.fault("net")
        await scene.until_over()

        assert scene.host.restarts == [("net", 1), ("web-1", 1)]

    in_virtual_time(main)


def test_nobody_else_is_touched(in_virtual_time: Run, tmp_path: Path) -> None:
    """What the policy does not name, whatever its state."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.fault("somebody-else")
        await asyncio.sleep(10)

        assert not scene.host.restarts
        assert not scene.outcomes

    in_virtual_time(main)


def test_a_dry_run_only_tells(in_virtual_time: Run, tmp_path: Path) -> None:
    """The first step that fits, with what it would do."""

    async def main(loop: VirtualTime) -> None:
        policy = RepairPolicy(care=("net",))
        scene = Scene(loop, tmp_path, policy)
        scene.fault("net", VerdictKind.PART_HUNG)
        await asyncio.sleep(10)

        assert scene.results() == [("net/nic", Result.WOULD)]
        assert scene.outcomes[0].why == "reset-part: reset net/nic"
        assert not scene.host.resets

    in_virtual_time(main)


def test_a_plan_says_why_nothing_can_be_done(
    in_virtual_time: Run, tmp_path: Path
) -> None:
    """The reason of the coarsest step, which is what somebody else has to mend."""

    async def main(loop: VirtualTime) -> None:
        reset = {VerdictKind.VMM_HUNG: LADDERS[VerdictKind.PART_HUNG][:1]}
        scene = Scene(loop, tmp_path, RepairPolicy(ladders=reset))
        for kind, why in (
            (VerdictKind.VMM_HUNG, "reset-part: it is no part"),
            (VerdictKind.BACKEND_STARVED, "no step is known for it"),
        ):
            verdict = scene.host.breaks("net", kind, loop.now_ns())
            assert scene.repairs.plan(verdict) == f"tell somebody: {why}"

    in_virtual_time(main)


def test_an_operator_may_order_what_the_policy_does_not(
    in_virtual_time: Run, tmp_path: Path
) -> None:
    """Of a VM that nobody is to care for, and where all is a dry run."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path, RepairPolicy())
        verdict = scene.host.breaks("net", VerdictKind.VMM_CRASHED, loop.now_ns())

        assert scene.repairs.plan(verdict) == "restart-service: restart net"
        assert not scene.repairs.loops
        scene.repairs.mend(verdict)
        await scene.until_over()

        assert scene.results() == [("net", Result.REPAIRED)]

    in_virtual_time(main)


def test_what_goes_by_itself_was_not_repaired(
    in_virtual_time: Run, tmp_path: Path
) -> None:
    """A guest that is well once its net is back is told so."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.fault("net")
        scene.fault("web-1", VerdictKind.GUEST_HUNG)
        await asyncio.sleep(RESTART_SECONDS + 0.1)
        scene.host.ill.discard("web-1")
        await scene.until_over()

        assert ("web-1", Result.RECOVERED) in scene.results()
        assert ("net", Result.REPAIRED) in scene.results()

    in_virtual_time(main)


def test_who_waits_for_its_vm_is_not_asked_what_fits_meanwhile(
    in_virtual_time: Run, tmp_path: Path
) -> None:
    """Of a back end that died with its VM nothing can be said until that is back."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.fault("web-1")
        crashed = scene.host.breaks("web-1", VerdictKind.BACKEND_CRASHED, loop.now_ns())
        scene.repairs.take(msgspec.structs.replace(crashed, subject="qsd"))
        await scene.until_over()

        assert scene.results() == [
            ("web-1", Result.REPAIRED),
            ("qsd", Result.RECOVERED),
        ]

    in_virtual_time(main)


def test_what_is_found_while_it_starts_is_mended_once(
    in_virtual_time: Run, tmp_path: Path
) -> None:
    """What it has begun itself was not left by an observer before it."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)
        scene.host.restart_seconds = 3.0
        scene.kill()
        scene.start()
        scene.fault("net")
        await asyncio.sleep(0.1)
        scene.repairs.resume()
        await scene.until_over()

        assert scene.results() == [("net", Result.REPAIRED)]
        assert scene.host.orders == [("net", 1)]

    in_virtual_time(main)


def test_flapping_ends_with_somebody_else(in_virtual_time: Run, tmp_path: Path) -> None:
    """The limit holds across observers."""

    async def main(loop: VirtualTime) -> None:
        policy = RepairPolicy(
            dry_run=False,
            care=("net",),
            rates=Rates(vm=2, host=9, window_ns=60 * SECOND),
        )
        scene = Scene(loop, tmp_path, policy)
        for _ in range(2):
            scene.fault("net")
            await scene.until_over()
        scene.kill()
        scene.start()
        scene.repairs.resume()
        scene.fault("net")
        await scene.until_over()

        assert len(scene.host.restarts) == 2
        assert scene.outcomes[-1].result is Result.ESCALATED
        assert "repaired 2 times within 1 minutes" in scene.outcomes[-1].why

    in_virtual_time(main)


def test_what_cannot_be_written_down_is_not_done(
    in_virtual_time: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends repairs, with a sentence."""

    async def main(loop: VirtualTime) -> None:
        scene = Scene(loop, tmp_path)

        def full(*_: object) -> int:
            raise HostError("The journal cannot be used: make room.")

        monkeypatch.setattr(scene.journal, "intend", full)
        scene.fault("net")
        await asyncio.sleep(1)

        assert not scene.host.restarts
        assert scene.results() == [("net", Result.ESCALATED)]
        assert "make room" in scene.outcomes[0].why

    in_virtual_time(main)


def test_an_error_leads_on(
    in_virtual_time: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody expected, too."""

    async def main(loop: VirtualTime) -> None:
        errors = iter([ProgramError("QEMU ended"), ZeroDivisionError("oh")])

        async def fails(*_: object) -> None:
            raise next(errors)

        scene = Scene(loop, tmp_path)
        monkeypatch.setattr(Restart, "act", fails)
        scene.fault("net")
        await scene.until_over()

        assert [o.result for o in scene.outcomes][-1] is Result.ESCALATED
        assert "QEMU ended" in scene.outcomes[0].why
        assert "a bug in observer" in scene.outcomes[-1].why

    in_virtual_time(main)


MOMENTS = st.lists(st.floats(0.0, 2.0), max_size=4)
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["net", "disk", "store"]),
        st.sampled_from(
            [VerdictKind.VMM_CRASHED, VerdictKind.SERVICE_HUNG, VerdictKind.PART_HUNG]
        ),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda fault: fault[0],
)


@settings(deadline=None, max_examples=60)
@given(
    faults=FAULTS,
    lives=MOMENTS,
    spares=st.sets(st.sampled_from(["net", "disk"])),
    stubborn=st.booleans(),
    early=st.booleans(),
    settles=st.floats(0, 0.2),
)
def test_an_observer_may_die_at_any_moment(
    in_virtual_time: Run,
    faults: list[tuple[str, VerdictKind]],
    lives: list[float],
    spares: set[str],
    *,
    stubborn: bool,
    early: bool,
    settles: float,
) -> None:
    """Whoever comes after it brings all to its end, and does nothing twice.

    Also if it finds the same before it goes on with what was left.
    """

    async def main(loop: VirtualTime) -> None:
        with tempfile.TemporaryDirectory() as folder:
            scene = Scene(loop, Path(folder))
            scene.host.spares |= spares
            if stubborn:
                scene.host.stubborn |= {"net", "disk"}
            found = [
                scene.host.breaks(name, kind, loop.now_ns()) for name, kind in faults
            ]
            for verdict in found:
                scene.repairs.take(verdict)
            for seconds in lives:
                await asyncio.sleep(seconds)
                again = [v for v in found if early and v.vm in scene.host.ill]
                scene.kill()
                scene.start()
                for verdict in again:
                    scene.repairs.take(verdict)
                await asyncio.sleep(settles)
                scene.repairs.resume()
            await scene.until_over()
            await asyncio.sleep(2 * RESTART_SECONDS)

            assert not scene.host.ill
            ended = scene.host.restarts + scene.host.switches
            assert len(set(ended)) == len(ended)
            assert all(life == 1 for _, life in ended)
            assert not scene.journal.unfinished()
            scene.kill()

    in_virtual_time(main)
