# SPDX-License-Identifier: Apache-2.0
"""The loop over fake books and a recorded /proc: no kernel, no waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from observer.clock import MS
from observer.inventory.guest_memory import RingWords
from observer.inventory.vmm import read_vms
from observer.kernel.cells import RingKind
from observer.model import SuspicionKind, VerdictKind

if TYPE_CHECKING:
    from conftest import Scene

    from observer.inventory.descriptors import Descriptors
    from observer.model import Vm

CASES = [
    kind
    for kind in SuspicionKind
    # a silent guest is asked first, and a note tells of something new
    if kind is not SuspicionKind.SILENT and not kind.name.startswith("NOTE_")
]


def test_a_thousand_vms_at_once_are_read_in_one_scan(scene: Scene) -> None:
    """However many start together, /proc is read once, and each gets its name."""
    for slot in range(1000):
        scene.add_vm(slot, f"vm{slot}")
        scene.raise_(SuspicionKind.NOTE_VM, slot)

    asyncio.run(scene.settled())

    assert len(scene.watch.vms) == 1000
    assert {vm.name for vm in scene.watch.vms.values()} == {
        f"vm{slot}" for slot in range(1000)
    }
    assert scene.watch.vms[999].taps == ("tap-vm999",)
    assert not scene.said


def test_what_is_told_during_a_scan_is_not_passed_by(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VM that began when its folder had been read already has another scan."""
    scene.add_vm(0, "first")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    scans = 0

    def read_late(*args: Any) -> tuple[list[Vm], dict[int, Descriptors]]:
        nonlocal scans
        scans += 1
        found = read_vms(*args)
        if scans == 1:
            scene.add_vm(1, "second")
            scene.raise_(SuspicionKind.NOTE_VM, 1)
            loop.call_soon_threadsafe(scene.watch.hear)
        return found

    monkeypatch.setattr("observer.watch.read_vms", read_late)

    async def watch() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        await scene.settled()

    loop: asyncio.AbstractEventLoop
    asyncio.run(watch())

    assert [vm.name for vm in scene.watch.vms.values()] == ["first", "second"]
    assert scans == 2


def test_a_new_vm_or_ring_costs_no_look_at_the_other_vms(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those that there is news of are read; all are when nobody says which."""
    read: list[set[int]] = []

    def read_some(*args: Any) -> tuple[list[Vm], dict[int, Descriptors]]:
        read.append(set(args[1].values()))
        return read_vms(*args)

    monkeypatch.setattr("observer.watch.read_vms", read_some)

    async def watch() -> None:
        for slot in (0, 1):
            scene.add_vm(slot, f"vm{slot}")
            scene.raise_(SuspicionKind.NOTE_VM, slot)
        await scene.settled()
        scene.add_vm(2, "vm2")
        scene.raise_(SuspicionKind.NOTE_VM, 2)
        await scene.settled()
        scene.raise_(SuspicionKind.NOTE_VM, 1)
        await scene.settled()
        scene.raise_(SuspicionKind.NOTE_RING, 1)
        await scene.settled()
        scene.watch.discover()
        await scene.settled()

    asyncio.run(watch())

    assert read == [{0, 1}, {2}, {1}, {0, 1, 2}]
    assert [vm.name for vm in scene.watch.vms.values()] == ["vm0", "vm1", "vm2"]


def test_many_suspicions_of_vms_that_are_new_wait_for_one_scan(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where VMs come faster than they are read, their rings may be late first."""
    scans = 0

    def read_some(*args: Any) -> tuple[list[Vm], dict[int, Descriptors]]:
        nonlocal scans
        scans += 1
        return read_vms(*args)

    monkeypatch.setattr("observer.watch.read_vms", read_some)
    for slot in range(20):
        scene.add_vm(slot, f"vm{slot}")
        scene.raise_(SuspicionKind.BACKEND, slot)

    asyncio.run(scene.settled())

    assert scans == 1
    assert len(scene.watch.vms) == 20


def test_a_vm_in_the_slot_of_another_is_read(scene: Scene) -> None:
    """Whoever has the news first: the slot is the same, the process is not."""
    scene.add_vm(0, "first")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    scene.add_vm(1, "second")
    scene.books.vms[0] = scene.books.vms[1]
    scene.books.vms[1] = 0
    scene.raise_(SuspicionKind.NOTE_RING, 1)

    asyncio.run(scene.settled())

    assert [vm.name for vm in scene.watch.vms.values()] == ["second"]


def test_a_back_end_that_outlived_its_vm_has_no_verdict(scene: Scene) -> None:
    """Both were killed; the VM's end has been told, and its slot is free."""
    scene.add_vm(0, "web")
    scene.raise_(SuspicionKind.EXITED, 0, 9)
    scene.books.vms[0] = 0
    scene.books.raised[0] = msgspec.structs.replace(scene.books.raised[0], tgid=4711)

    asyncio.run(scene.settled())

    assert not scene.said


def test_a_vm_that_vanishes_during_discovery_is_no_error(scene: Scene) -> None:
    """A cell whose process is gone already is passed over."""
    scene.add_vm(0, "stays")
    scene.books.vms[1]["tgid"] = 99
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    scene.raise_(SuspicionKind.NOTE_VM, 1)

    asyncio.run(scene.settled())

    assert [vm.name for vm in scene.watch.vms.values()] == ["stays"]


def test_all_silent_guests_are_asked_together(scene: Scene) -> None:
    """One wake-up asks every silent guest, and marks its cell for the kernel."""
    for slot in range(3):
        scene.add_vm(slot, f"vm{slot}")
        scene.raise_(SuspicionKind.NOTE_VM, slot)
    asyncio.run(scene.settled())
    for slot in range(3):
        scene.raise_(SuspicionKind.SILENT, slot)

    asyncio.run(scene.settled())

    assert scene.questions.asked == [("tap-vm0",), ("tap-vm1",), ("tap-vm2",)]
    assert (scene.books.vms["asked_ns"][:3] == scene.clock.ns).all()
    assert not scene.said


def test_a_guest_that_nobody_can_ask_costs_one_look(scene: Scene) -> None:
    """It has no tap: whether its VMM holds it is looked at, and its silence is good."""
    pid = scene.add_vm(0, "serial-only")
    (scene.proc / str(pid) / "fd/7").unlink()
    task = scene.proc / str(pid) / "task" / str(pid + 50_000)
    task.mkdir(parents=True)
    (task / "syscall").write_text("16 0xa 0xae80 0x0 0x0\n")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    scene.raise_(SuspicionKind.SILENT, 0)

    asyncio.run(scene.settled())

    assert not scene.questions.asked
    assert scene.watch.refuted == {"it has no tap that it could be asked on": 1}
    assert scene.books.vms[0]["sign_ns"] == scene.clock.ns
    assert not scene.said


def test_who_boots_or_is_inhibited_is_not_asked(scene: Scene) -> None:
    """Silence is expected of a guest that is not up, or is worked on."""
    scene.add_vm(0, "boots", up=False)
    scene.add_vm(1, "worked-on")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    scene.watch.inhibitions.inhibit("worked-on", 1000 * MS)
    scene.raise_(SuspicionKind.SILENT, 0)
    scene.raise_(SuspicionKind.SILENT, 1)

    asyncio.run(scene.settled())

    assert scene.questions.asked == []


def test_a_killed_vmm_is_a_verdict_and_frees_its_slots(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit is told once, with its evidence, and the books are cleared."""
    monkeypatch.setattr("observer.watch.RECHECK_SECONDS", 0.01)
    scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    (scene.proc / "1000/stat").unlink()
    scene.raise_(SuspicionKind.EXITED, 0, value=9)
    scene.raise_(SuspicionKind.EXITED, 0, value=9)

    asyncio.run(scene.settled())

    (verdict,) = scene.said
    assert verdict.kind is VerdictKind.VMM_CRASHED
    assert (verdict.vm, verdict.subject) == ("web1", "web1")
    assert "SIGKILL" in verdict.evidence
    assert scene.books.forgotten == [0]
    assert not scene.watch.vms


def test_an_inhibited_vm_gets_no_verdict(scene: Scene) -> None:
    """Planned work: the finding is noted, nothing is said."""
    scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    scene.watch.inhibitions.inhibit("web1", 1000 * MS)
    (scene.proc / "1000/stat").unlink()
    scene.raise_(SuspicionKind.EXITED, 0, value=9)

    asyncio.run(scene.settled())

    assert not scene.said
    assert "inhibited" in {kind for kind, _ in scene.notes}


def test_looks_are_apart_however_late_the_observer_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been the observer itself that kept the server from its CPU."""
    pid = scene.add_vm(0, "web1")
    stat = scene.proc / f"{pid}/stat"
    stat.write_text(stat.read_text().replace(") S ", ") R "))
    kick = scene.proc / f"{pid}/fdinfo/8"
    kick.write_text("eventfd-count: 1\neventfd-id: 5\n")
    (scene.proc / f"{pid}/fd/8").symlink_to("anon_inode:[eventfd]")
    ring = scene.books.rings[0]
    ring["kind"], ring["eventfd_id"] = RingKind.USER, 5
    ring["since_ns"] = scene.clock.ns
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    scene.raise_(SuspicionKind.BACKEND, 0)
    scene.clock.ns += 2000 * MS
    really_sleep, slept = asyncio.sleep, []

    async def serve(seconds: float) -> None:
        slept.append(seconds)
        kick.write_text("eventfd-count: 0\neventfd-id: 5\n")
        await really_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", serve)

    asyncio.run(scene.settled())

    assert slept
    assert not scene.said
    assert ("refuted", "web1: it serves the ring") in scene.notes


@pytest.mark.parametrize("kind", [SuspicionKind.BACKEND, SuspicionKind.UNKICKED])
@pytest.mark.parametrize("later", [{"last_avail": 4}, {"since_ns": 10**12 + MS}])
def test_what_is_owed_later_is_another_debt(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    kind: SuspicionKind,
    later: dict[str, int],
) -> None:
    """A ring that was served since the suspicion may be amidst the next batch."""
    scene.add_vm(0, "web1")
    monkeypatch.setattr(
        "observer.cases.back_end.read_ring_words",
        lambda *_: RingWords(avail=5, used=0, used_event=0),
    )
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    ring = scene.books.rings[0]
    ring["since_ns"], ring["owed_from"], ring["last_avail"] = scene.clock.ns, 3, 3
    scene.raise_(kind, 0)
    for name, value in later.items():
        ring[name] = value
    scene.clock.ns += 2000 * MS

    asyncio.run(scene.settled())

    assert not scene.said
    assert ("refuted", "web1: it serves the ring") in scene.notes


@pytest.mark.parametrize("kind", CASES)
def test_each_suspicion_is_refuted_where_all_is_well(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: SuspicionKind
) -> None:
    """A verdict never comes from what the kernel raised alone."""
    pid = scene.add_vm(0, "web1")
    thread = scene.proc / f"{pid}/task/{pid + 50_000}"
    thread.mkdir(parents=True)
    for name in ("stat", "schedstat"):
        (thread / name).write_text((scene.proc / f"{pid}/{name}").read_text())
    (thread / "syscall").write_text("running\n")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(scene.settled())
    really_sleep = asyncio.sleep

    async def live_on(seconds: float) -> None:
        scene.clock.ns += max(1, int(seconds * 10**9))
        scene.books.vms[0]["sign_ns"] = scene.clock.ns
        await really_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", live_on)
    scene.notes.clear()
    scene.raise_(kind, 0)

    asyncio.run(scene.settled())

    assert [note for note, _ in scene.notes if note == "refuted"]
    assert not scene.said


def test_the_rehearsal_looks_and_says_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it finds, here a worker that is stopped while more is offered."""
    pid = scene.add_vm(0, "web1")
    stat = scene.proc / f"{pid}/stat"
    stat.write_text(stat.read_text().replace(") S ", ") T "))
    read: list[int] = []

    def offered(vmm: int, *_: int) -> RingWords:
        read.append(vmm)
        return RingWords(avail=5, used=0, used_event=0)

    monkeypatch.setattr("observer.cases.back_end.read_ring_words", offered)
    scene.raise_(SuspicionKind.NOTE_VM, 0)

    asyncio.run(scene.settled())
    assert read == [pid]
    assert not scene.said
    assert not [note for note, _ in scene.notes if note == "refuted"]

    scene.books.rings[0]["since_ns"] = scene.clock.ns

    async def in_earnest() -> None:
        scene.raise_(SuspicionKind.BACKEND, 0)
        scene.watch.hear()
        async with asyncio.timeout(30):
            await scene.spoke.wait()

    asyncio.run(in_earnest())
    assert [verdict.kind for verdict in scene.said] == [VerdictKind.VMM_STOPPED]
