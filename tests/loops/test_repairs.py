# SPDX-License-Identifier: Apache-2.0
"""Verdicts in, orders out, over a host that is made of objects, in no time."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from observer.clock import MS, SECOND
from observer.errors import HostError, ProgramError, UnfitError
from observer.journal import Journal
from observer.loops.global_loop import Rates
from observer.loops.policy import RepairPolicy
from observer.loops.repairs import Repairs
from observer.model import Outcome, Repair, Result, StepKind, Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import pytest
    from conftest import VirtualTime

    Run = Callable[[Callable[[VirtualTime], Coroutine[None, None, None]]], None]

USES = {"net": ("store",), "disk": ("store",), "web-*": ("net", "disk")}
CARE = RepairPolicy(dry_run=False, care=("net", "disk", "store", "web-*"), uses=USES)
RESTART_SECONDS, SWITCH_SECONDS = 0.4, 0.02


@dataclass
class Host:
    """Services by name: the number of each one's life, and whether it is well."""

    lives: dict[str, int] = field(default_factory=dict)
    ill: set[str] = field(default_factory=set)
    stubborn: set[str] = field(default_factory=set)
    """Those whose part is not mended by a reset."""
    restarts: list[tuple[str, int]] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    spares: set[str] = field(default_factory=set)
    """Those that have one, until it serves."""
    switches: list[tuple[str, int]] = field(default_factory=list)
    at_work: set[asyncio.Task[None]] = field(default_factory=set)

    def breaks(self, name: str, kind: VerdictKind, now_ns: int) -> Verdict:
        self.ill.add(name)
        part = f"{name}/nic" if kind is VerdictKind.PART_HUNG else name
        life = self.lives.setdefault(name, 1)
        return Verdict("", now_ns, name, part, kind, now_ns, 0, "", "", pid=life)

    def is_well(self, verdict: Verdict) -> bool:
        return verdict.vm not in self.ill

    async def restart(self, name: str, life: int) -> None:
        """As a keeper does it: to the end, whoever asked, and once for each life."""
        if self.lives[name] == life:
            self.lives[name] += 1
            self.restarts.append((name, life))
            await asyncio.sleep(RESTART_SECONDS)
            self.ill.discard(name)

    async def switch(self, name: str, life: int) -> None:
        """As a keeper does it, too; without a spare there is nothing to do."""
        if self.lives[name] == life and name in self.spares:
            self.lives[name] += 1
            self.spares.discard(name)
            self.switches.append((name, life))
            await asyncio.sleep(SWITCH_SECONDS)
            self.ill.discard(name)


class Switch:
    def __init__(self, host: Host) -> None:
        self._host = host

    def plan(self, repair: Repair) -> str:
        if repair.verdict.vm not in self._host.spares:
            raise UnfitError("it has no spare")
        return f"switch {repair.verdict.vm}"

    async def act(self, repair: Repair) -> None:
        self.plan(repair)
        verdict = repair.verdict
        task = asyncio.create_task(self._host.switch(verdict.vm, verdict.pid))
        self._host.at_work.add(task)
        await asyncio.shield(task)


class Restart:
    def __init__(self, host: Host) -> None:
        self._host = host

    def plan(self, repair: Repair) -> str:
        return f"restart {repair.verdict.vm}"

    async def act(self, repair: Repair) -> None:
        verdict = repair.verdict
        task = asyncio.create_task(self._host.restart(verdict.vm, verdict.pid))
        self._host.at_work.add(task)
        await asyncio.shield(task)


class Reset:
    def __init__(self, host: Host) -> None:
        self._host = host

    def plan(self, repair: Repair) -> str:
        if "/" not in repair.verdict.subject:
            raise UnfitError("it is no part")
        return f"reset {repair.verdict.subject}"

    async def act(self, repair: Repair) -> None:
        self.plan(repair)
        name = repair.verdict.vm
        self._host.resets.append(name)
        if name not in self._host.stubborn:
            self._host.ill.discard(name)


class Scene:
    """One observer after the other on a host."""

    def __init__(
        self, loop: VirtualTime, folder: Path, policy: RepairPolicy = CARE
    ) -> None:
        self.loop, self.host, self.policy = loop, Host(), policy
        self._folder = folder
        self.outcomes: list[Outcome] = []
        self.start()

    def start(self) -> None:
        self.journal = Journal(self._folder / "journal.db", "this boot")
        means = {
            StepKind.SWITCH_TO_SPARE: Switch(self.host),
            StepKind.RESTART_SERVICE: Restart(self.host),
            StepKind.RESET_PART: Reset(self.host),
            StepKind.INJECT_NMI: Restart(self.host),
        }
        self.repairs = Repairs(
            self.policy,
            self.loop,
            means,
            self.journal,
            is_well=self.host.is_well,
            on_outcome=lambda outcome, _: self.outcomes.append(outcome),
        )
        self.repairs.resume()

    def kill(self) -> None:
        """Nothing is tidied up; what was ordered is carried out all the same."""
        self.repairs.close()
        self.journal.close()

    def fault(self, name: str, kind: VerdictKind = VerdictKind.VMM_CRASHED) -> None:
        self.repairs.take(self.host.breaks(name, kind, self.loop.now_ns()))

    async def until_over(self, seconds: float = 300.0) -> None:
        deadline = self.loop.time() + seconds
        while any(not loop.over for loop in self.repairs.loops.values()):
            assert self.loop.time() < deadline, self.repairs.loops
            await asyncio.sleep(0.01)

    def results(self) -> list[tuple[str, Result]]:
        return [(o.subject, o.result) for o in self.outcomes]


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
)
def test_an_observer_may_die_at_any_moment(
    in_virtual_time: Run,
    faults: list[tuple[str, VerdictKind]],
    lives: list[float],
    spares: set[str],
    *,
    stubborn: bool,
) -> None:
    """Whoever comes after it brings all to its end, and does nothing twice."""

    async def main(loop: VirtualTime) -> None:
        with tempfile.TemporaryDirectory() as folder:
            scene = Scene(loop, Path(folder))
            scene.host.spares |= spares
            if stubborn:
                scene.host.stubborn |= {"net", "disk"}
            for name, kind in faults:
                scene.fault(name, kind)
            for seconds in lives:
                await asyncio.sleep(seconds)
                scene.kill()
                scene.start()
            await scene.until_over()
            await asyncio.sleep(2 * RESTART_SECONDS)

            assert not scene.host.ill
            ended = scene.host.restarts + scene.host.switches
            assert len(set(ended)) == len(ended)
            assert all(life == 1 for _, life in ended)
            assert not scene.journal.unfinished()
            scene.kill()

    in_virtual_time(main)
