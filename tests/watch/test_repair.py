# SPDX-License-Identifier: Apache-2.0
"""What the watch tells those who repair: who is well, and what is done."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from observer.clock import MS, SECOND
from observer.config import Policy
from observer.inventory.vmm import read_vms
from observer.kernel.exits import EXIT_REASON_TRIPLE_FAULT, ISA_VMX
from observer.kernel.rings import begin_to_read_anew
from observer.loops.policy import RepairPolicy
from observer.model import Suspicion, SuspicionKind, Verdict, VerdictKind, Vm

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Scene

    from observer.inventory.descriptors import Descriptors

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


def test_a_guest_that_lives_and_consumes_nothing_is_not_well(scene: Scene) -> None:
    """A sign of life is none of consumption."""
    pid = scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    now = scene.clock.ns
    hung, stopped = (
        Verdict("", now, "web1", subject, kind, 0, 0, "", "", pid)
        for kind, subject in (
            (VerdictKind.GUEST_HUNG, "guest"),
            (VerdictKind.VMM_STOPPED, "web1"),
        )
    )
    scene.books.vms[0]["sign_ns"] = now + 2 * MS
    scene.books.rings[0]["unconsumed_ns"] = now
    scene.books.vms[0]["unread"] = 1
    assert not scene.watch.is_well(hung)
    assert scene.watch.is_well(stopped)
    begin_to_read_anew(scene.books, 0)
    assert scene.watch.is_well(hung)


@pytest.mark.parametrize(
    ("repair", "said"),
    [
        (RepairPolicy(), "would restart the VM"),
        (RepairPolicy(care=("web*",)), f"would {ANEW}, else restart-vm"),
        (RepairPolicy(care=("web*",), dry_run=False), f"{ANEW}, else restart-vm"),
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


async def looked_at(scene: Scene) -> None:
    """Let the cases end, and not the looks at a verdict that lasts."""
    scene.watch.hear()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=30)


def test_a_service_that_panics_and_then_falls_has_one_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where open verdicts are looked at in between."""
    scene.add_vm(0, "net")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    services = scene.watch._looks._services  # noqa: SLF001 - it has no folders here
    monkeypatch.setattr(services, "is_service", lambda _: True)
    scene.books.services[0]["panicked"] = 1

    for isa, reason in ((0, 0), (ISA_VMX, EXIT_REASON_TRIPLE_FAULT)):
        scene.books.vcpus[0]["isa"], scene.books.vcpus[0]["reason"] = isa, reason
        scene.raise_(SuspicionKind.FELL, 0)
        asyncio.run(looked_at(scene))
        scene.watch.close_paid()
    assert [v.kind for v in scene.said] == [VerdictKind.SERVICE_CRASHED]
    assert not [text for kind, text in scene.notes if kind == "recovered"]


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


def test_a_back_end_is_well_once_another_serves(scene: Scene) -> None:
    """One of its name, started since; a brother that has served all along is none."""
    vmm = scene.add_vm(0, "web1")
    tick_ns = SECOND // os.sysconf("SC_CLK_TCK")
    ahead_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    crashed_ns = scene.clock.ns
    now_ticks = (crashed_ns + ahead_ns) // tick_ns
    share_eventfd(scene, vmm)
    dead, brother = (serve(scene, 2000 + n, now_ticks - 100) for n in range(2))
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    scene.books.raised.append(
        Suspicion(SuspicionKind.EXITED, crashed_ns, crashed_ns, 9, dead, 0, 0)
    )
    shutil.rmtree(scene.proc / str(dead))
    asyncio.run(until_said(scene))
    (verdict,) = scene.said
    assert (verdict.kind, verdict.server) == (VerdictKind.BACKEND_CRASHED, dead)
    assert scene.watch.verdicts_on("web1") == [verdict]
    assert not scene.watch.is_well(verdict)

    serve(scene, 2002, now_ticks + 1)
    scene.raise_(SuspicionKind.NOTE_RING, 0)
    asyncio.run(until(scene, lambda: scene.watch.is_well(verdict)))
    assert brother in [b.pid for b in scene.watch.vms[0].back_ends]
    scene.watch.close_paid()
    assert not scene.watch.open


def test_who_is_looked_at_is_suspected(scene: Scene) -> None:
    """From the moment at which the kernel said so, until it is clear."""
    pid = scene.add_vm(0, "web1")
    scene.add_vm(1, "web2")
    for slot in (0, 1):
        scene.raise_(SuspicionKind.NOTE_VM, slot)
    asyncio.run(scene.settled())

    async def main() -> set[str]:
        scene.raise_(SuspicionKind.EXITED, 0, value=9)
        scene.watch.hear()
        suspected = scene.watch.suspected()
        shutil.rmtree(scene.proc / str(pid))
        await scene.settled()
        return suspected

    assert not scene.watch.suspected()
    assert asyncio.run(main()) == {"web1"}
    assert [v.vm for v in scene.said] == ["web1"]
    assert not scene.watch.suspected()


def test_a_crash_is_remembered_until_the_next_of_that_name_comes(scene: Scene) -> None:
    """An operator may order its repair; one that ended well has nothing to repair."""
    for slot, name in enumerate(("web1", "web2")):
        pid = scene.add_vm(slot, name)
        scene.raise_(SuspicionKind.NOTE_VM, slot)
        asyncio.run(scene.settled())
        shutil.rmtree(scene.proc / str(pid))
        scene.raise_(SuspicionKind.EXITED, slot, value=9 * (name == "web1"))
        asyncio.run(scene.settled())

    (verdict,) = scene.watch.verdicts_on("web1")
    assert verdict.kind is VerdictKind.VMM_CRASHED
    assert not scene.watch.verdicts_on("web2")

    scene.add_vm(2, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 2)
    asyncio.run(scene.settled())
    assert not scene.watch.verdicts_on("web1")


def test_one_that_is_buried_while_others_are_read_stays_buried(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead one is read as it was, and its crash is still to be repaired by hand."""
    scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)

    def read_slowly(*words: Any) -> tuple[list[Vm], dict[int, Descriptors]]:
        found = read_vms(*words)
        scene.books.forget(0)
        return found

    monkeypatch.setattr("observer.watch.read_vms", read_slowly)
    asyncio.run(scene.settled())
    assert not scene.watch.vms


def share_eventfd(scene: Scene, pid: int) -> None:
    folder = scene.proc / str(pid)
    (folder / "fdinfo/8").write_text("eventfd-count: 0\neventfd-id: 40\n")
    (folder / "fd/8").symlink_to("anon_inode:[eventfd]")


def serve(scene: Scene, pid: int, start_ticks: int) -> int:
    """A back end that holds the VM's eventfd."""
    folder = scene.proc / str(pid)
    for name in ("fd", "fdinfo"):
        (folder / name).mkdir(parents=True)
    (folder / "comm").write_text("qsd\n")
    rest = " ".join(["0"] * 12)
    (folder / "stat").write_text(f"{pid} (qsd) S 1 1 1 0 -1 0 {rest} {start_ticks} 0")
    (folder / "schedstat").write_text("1 1 1")
    share_eventfd(scene, pid)
    return pid


async def until(scene: Scene, what: Callable[[], bool]) -> None:
    scene.watch.hear()
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)


async def until_said(scene: Scene) -> None:
    await until(scene, lambda: bool(scene.said))
