# SPDX-License-Identifier: Apache-2.0
"""Reads of a guest's memory: one thread for each VM, whatever hangs."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from observer.cases.reach import Reach
from observer.errors import DeadlineError
from observer.model import Vm

if TYPE_CHECKING:
    from observer.watch import Watch

OTHERS = 3
VMS = [Vm(1000 + slot, 1, f"vm{slot}", slot) for slot in range(2)]


@pytest.fixture
def reach() -> Reach:
    """Of what it asks a watch nothing is needed here."""
    watch: Watch = object()  # type: ignore[assignment]
    return Reach(watch)


def test_reads_of_one_vm_take_turns(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rings that are late at once are both looked at, one after the other."""
    monkeypatch.setattr("observer.cases.reach.READ_SECONDS", 5.0)
    began, go_on, quick_ran = (threading.Event() for _ in range(3))

    def slow() -> bool:
        began.set()
        go_on.wait(5.0)
        return quick_ran.is_set()

    async def read_both() -> tuple[bool, None]:
        first = asyncio.create_task(reach.in_thread(VMS[0], slow))
        await asyncio.to_thread(began.wait, 5.0)
        second = asyncio.create_task(reach.in_thread(VMS[0], quick_ran.set))
        # were it not for its turn, this would run after the second
        await asyncio.gather(*(reach.in_thread(VMS[1], int) for _ in range(OTHERS)))
        go_on.set()
        return await first, await second

    assert asyncio.run(read_both()) == (False, None)
    assert quick_ran.is_set()


def test_a_read_that_hangs_holds_up_its_own_vm_only(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second thread waits for the same VMM; another VM is read meanwhile."""
    monkeypatch.setattr("observer.cases.reach.READ_SECONDS", 0.05)
    over, began = threading.Event(), []

    def hang() -> None:
        began.append(1)
        over.wait(30)

    async def read() -> str:
        for _ in range(2):
            with pytest.raises(DeadlineError, match="vm0"):
                await reach.in_thread(VMS[0], hang)
        other = await reach.in_thread(VMS[1], lambda: "read")
        over.set()
        return other

    assert asyncio.run(read()) == "read"
    assert began == [1]
