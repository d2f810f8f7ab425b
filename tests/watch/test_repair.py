# SPDX-License-Identifier: Apache-2.0
"""What the watch tells those who repair: who is well, and what is done."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.clock import MS
from observer.config import Policy
from observer.loops.policy import RepairPolicy
from observer.model import SuspicionKind, Verdict, VerdictKind

if TYPE_CHECKING:
    from conftest import Scene

ANEW = "switch-to-spare, else restart-service"


def test_a_vm_that_took_anothers_place_is_well_once_it_is_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the dead one is, nor the next one while it boots."""
    pid = scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    dead = Verdict(
        "", scene.clock.ns, "web1", "web1", VerdictKind.VMM_CRASHED, 0, 0, "", "", pid
    )
    stopped = msgspec.structs.replace(dead, kind=VerdictKind.VMM_STOPPED)
    assert not scene.watch.is_well(dead)
    assert not scene.watch.is_well(stopped)
    back_end = msgspec.structs.replace(dead, kind=VerdictKind.BACKEND_CRASHED)
    assert not scene.watch.is_well(back_end)  # though it is told only once
    scene.books.vms[0]["sign_ns"] = scene.clock.ns + 2 * MS
    assert scene.watch.is_well(stopped)

    booting = True
    monkeypatch.setattr(scene.watch, "is_booting", lambda _: booting)
    scene.add_vm(1, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 1)
    asyncio.run(scene.settled())
    assert not scene.watch.is_well(dead)
    booting = False
    assert scene.watch.is_well(dead)


@pytest.mark.parametrize(
    ("repair", "said"),
    [
        (RepairPolicy(), "would restart the VM"),
        (RepairPolicy(care=("web*",)), f"would {ANEW}"),
        (RepairPolicy(care=("web*",), dry_run=False), ANEW),
        (
            RepairPolicy(
                care=("web*",), dry_run=False, ladders={VerdictKind.VMM_CRASHED: ()}
            ),
            "alert",
        ),
    ],
)
def test_a_verdict_says_what_the_policy_does_about_it(
    scene: Scene, repair: RepairPolicy, said: str
) -> None:
    """What it would do, where it is let do nothing."""
    pid = scene.add_vm(0, "web1")
    scene.watch.policy = Policy(repair=repair)
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    shutil.rmtree(scene.proc / str(pid))
    scene.raise_(SuspicionKind.EXITED, 0, value=9)
    asyncio.run(scene.settled())

    assert [(v.action, v.pid) for v in scene.said] == [(said, pid)]


def test_a_crash_that_is_told_once_has_not_ended(scene: Scene) -> None:
    """Who was alerted is told of an end only where there was one."""
    ended: list[Verdict] = []
    pid = scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    scene.watch._on_closed = ended.append  # noqa: SLF001 - as its caller gives it
    now = scene.clock.ns
    crashed, stopped = (
        Verdict("", now, "web1", "web1", kind, 0, 0, "", "", pid)
        for kind in (VerdictKind.BACKEND_CRASHED, VerdictKind.VMM_STOPPED)
    )
    scene.watch.open = {(0, "back end"): crashed, (0, "web1"): stopped}
    scene.books.vms[0]["sign_ns"] = now + 2 * MS
    scene.watch.close_paid()

    assert ended == [stopped]
    assert not scene.watch.open


def test_a_spare_that_works_says_nothing_of_the_one_that_serves(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one name; a verdict is about one process."""
    pids = [scene.add_vm(slot, "net") for slot in (0, 1)]
    for slot in (0, 1):
        scene.raise_(SuspicionKind.NOTE_VM, slot)
    asyncio.run(scene.settled())
    looks = scene.watch._looks  # noqa: SLF001 - it has no folders here
    monkeypatch.setattr(looks, "stands_by", lambda vm: vm.slot == 1)
    hung = Verdict(
        "", scene.clock.ns, "net", "net", VerdictKind.VMM_HUNG, 0, 0, "", "", pids[0]
    )

    scene.books.vms[1]["sign_ns"] = scene.clock.ns + 2 * MS
    assert not scene.watch.is_well(hung)
    scene.books.vms[0]["sign_ns"] = scene.clock.ns + 2 * MS
    assert scene.watch.is_well(hung)
