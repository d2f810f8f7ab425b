# SPDX-License-Identifier: Apache-2.0
"""An act of two halves, whose observer dies between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from observer.clock import SECOND
from observer.journal import Journal
from observer.loops.policy import RepairPolicy
from observer.loops.repairs import Repairs
from observer.model import Repair, Step, StepKind, Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from conftest import VirtualTime

    Run = Callable[[Callable[[VirtualTime], Coroutine[None, None, None]]], None]

BOUNCE = Step(StepKind.BOUNCE_LINK, SECOND)
CARE = RepairPolicy(
    dry_run=False, care=("web",), ladders={VerdictKind.BACKEND_HUNG: (BOUNCE,)}
)


class Bounce:
    """Who is half done."""

    def __init__(self) -> None:
        self.half_done: set[str] = set()

    def plan(self, repair: Repair) -> str:
        return f"bounce {repair.verdict.vm}"

    async def act(self, repair: Repair) -> None:
        self.half_done.add(repair.verdict.vm)
        await asyncio.sleep(0.4)
        await self.settle(repair)

    async def settle(self, repair: Repair) -> None:
        self.half_done.discard(repair.verdict.vm)


def test_what_was_half_done_is_brought_to_its_end(
    in_virtual_time: Run, tmp_path: Path
) -> None:
    """By the next observer, though its policy may not care for the VM any more."""

    async def main(loop: VirtualTime) -> None:
        bounce = Bounce()

        def observer(policy: RepairPolicy, journal: Journal) -> Repairs:
            return Repairs(
                policy,
                loop,
                {StepKind.BOUNCE_LINK: bounce},
                journal,
                is_well=lambda _: False,
                on_outcome=lambda _outcome, _verdict: None,
            )

        first = Journal(tmp_path / "journal.db", "this boot")
        repairs, now = observer(CARE, first), loop.now_ns()
        kind = VerdictKind.BACKEND_HUNG
        repairs.take(Verdict("", now, "web", "vhost-1", kind, now, 0, "", "", 1))
        await asyncio.sleep(0.2)
        repairs.close()
        first.close()
        assert bounce.half_done == {"web"}

        second = Journal(tmp_path / "journal.db", "this boot")
        observer(RepairPolicy(), second).resume()
        await asyncio.sleep(0.1)
        assert not bounce.half_done
        assert not second.unfinished()
        second.close()

    in_virtual_time(main)
