# SPDX-License-Identifier: Apache-2.0
"""A host that is made of objects: its services, what mends them, one observer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from observer.errors import UnfitError
from observer.journal import Journal
from observer.loops.policy import RepairPolicy
from observer.loops.repairs import Repairs
from observer.model import Outcome, Repair, Result, StepKind, Verdict, VerdictKind

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import VirtualTime

USES = {"net": ("store",), "disk": ("store",), "web-*": ("net", "disk")}
CARE = RepairPolicy(dry_run=False, care=("net", "disk", "store", "web-*"), uses=USES)
RESTART_SECONDS, SWITCH_SECONDS = 0.4, 0.02


@dataclass
class Host:
    """Services by name: the number of each one's life, and whether it is well."""

    lives: dict[str, int] = field(default_factory=dict)
    ill: set[str] = field(default_factory=set)
    suspected: set[str] = field(default_factory=set)
    stubborn: set[str] = field(default_factory=set)
    """Those whose part is not mended by a reset."""
    restarts: list[tuple[str, int]] = field(default_factory=list)
    restart_seconds: float = RESTART_SECONDS
    orders: list[tuple[str, int]] = field(default_factory=list)
    """To restart which life, also where that was done already."""
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
            await asyncio.sleep(self.restart_seconds)
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
        self._host.orders.append((verdict.vm, verdict.pid))
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


class Unfit:
    """Does not fit any that there is on this host."""

    def plan(self, repair: Repair) -> str:
        raise UnfitError(f"{repair.step.do} does not fit {repair.verdict.vm}")

    async def act(self, repair: Repair) -> None:
        self.plan(repair)


class Scene:
    """One observer after the other on a host."""

    def __init__(
        self, loop: VirtualTime, folder: Path, policy: RepairPolicy = CARE
    ) -> None:
        self.loop, self.host, self.policy = loop, Host(), policy
        self._folder = folder
        self.outcomes: list[Outcome] = []
        self.start()
        self.repairs.resume()

    def start(self) -> None:
        """Start an observer; it resumes what was left once it has settled."""
        self.journal = Journal(self._folder / "journal.db", "this boot")
        means = {
            StepKind.SWITCH_TO_SPARE: Switch(self.host),
            StepKind.RESTART_SERVICE: Restart(self.host),
            StepKind.RESET_PART: Reset(self.host),
            StepKind.RESTART_VM: Unfit(),
            StepKind.RESTART_BACKEND: Unfit(),
            StepKind.RE_CALL: Unfit(),
            StepKind.INJECT_NMI: Restart(self.host),
        }
        self.repairs = Repairs(
            self.policy,
            self.loop,
            means,
            self.journal,
            is_well=self.host.is_well,
            suspected=lambda: self.host.suspected,
            on_outcome=lambda outcome, _: self.outcomes.append(outcome),
        )

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
