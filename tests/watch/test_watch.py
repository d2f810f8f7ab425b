# SPDX-License-Identifier: Apache-2.0
"""The loop over fake books and a recorded /proc: no kernel, no waiting."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from observer.clock import MS
from observer.config import Policy
from observer.inventory.guest_memory import RingWords
from observer.kernel.cells import (
    LIMITS,
    RING,
    SERVICE,
    VCPU,
    VM,
    Cells,
    RingFlag,
    RingKind,
)
from observer.loops.policy import RepairPolicy
from observer.model import Suspicion, SuspicionKind, Verdict, VerdictKind
from observer.watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

START_TICKS = 4711


class FakeClock:
    def __init__(self) -> None:
        self.ns = 10**12

    def now_ns(self) -> int:
        return self.ns


class FakeBooks:
    """Cells in plain memory; suspicions are put in by the test."""

    def __init__(self) -> None:
        self.vms: Cells = np.zeros(LIMITS["vms"], VM)
        self.vcpus: Cells = np.zeros(LIMITS["vcpus"], VCPU)
        self.rings: Cells = np.zeros(LIMITS["rings"], RING)
        self.services: Cells = np.zeros(LIMITS["services"], SERVICE)
        self.left_out: dict[str, str] = {}
        self.raised: list[Suspicion] = []
        self.watched: dict[int, int] = {}
        self.forgotten: list[int] = []

    def fileno(self) -> int:
        raise NotImplementedError  # the tests call `hear` themselves

    def take(self) -> list[Suspicion]:
        taken, self.raised = self.raised, []
        return taken

    def look_at_ring(self, slot: int) -> bool:
        return bool(self.rings[slot]["kind"])

    def enter_vhost_file(self, _vcpu_slot: int, _fd: int) -> None:
        pass

    def watch_process(self, pid: int, vm_slot: int) -> None:
        self.watched[pid] = vm_slot

    def last_call_ns(self, _pid: int) -> int:
        return 0

    def forget(self, vm_slot: int) -> None:
        self.forgotten.append(vm_slot)
        self.vms[vm_slot] = np.zeros((), VM)

    def dropped(self) -> dict[str, int]:
        return {}

    def close(self, *, detach: bool) -> None:
        pass


class FakeQuestions:
    """Remembers whom it asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def ask(self, taps: tuple[str, ...]) -> str | None:
        self.asked.append(taps)
        return taps[0] if taps else None

    def close(self) -> None:
        pass


CASES = [
    kind
    for kind in SuspicionKind
    # a silent guest is asked first, and a note tells of something new
    if kind is not SuspicionKind.SILENT and not kind.name.startswith("NOTE_")
]


class Scene:
    """A watch, and the host that it believes to see."""

    def __init__(self, proc: Path) -> None:
        self.proc, self.books, self.clock = proc, FakeBooks(), FakeClock()
        self.questions = FakeQuestions()
        self.said: list[Verdict] = []
        self.spoke = asyncio.Event()
        self.notes: list[tuple[str, str]] = []
        self.watch = Watch(
            self.books,
            Policy(),
            self.clock,
            self.questions,  # type: ignore[arg-type]
            on_verdict=self._hear,
            on_note=lambda kind, text: self.notes.append((kind, text)),
            proc=proc,
        )

    def _hear(self, verdict: Verdict) -> None:
        self.said.append(verdict)
        self.spoke.set()

    def add_vm(self, slot: int, name: str, *, up: bool = True) -> int:
        """A VMM in /proc and its cell; `up` has halted and drives a ring."""
        pid = 1000 + slot
        folder = self.proc / str(pid)
        (folder / "fdinfo").mkdir(parents=True)
        (folder / "fd").mkdir()
        (folder / "fdinfo/7").write_text(f"pos:\t0\niff:\ttap-{name}\n")
        (folder / "comm").write_text("qemu-system-x86\n")
        (folder / "cmdline").write_text(f"qemu\0-name\0guest={name},x=1\0")
        rest = " ".join(["0"] * 12)
        (folder / "stat").write_text(
            f"{pid} (qemu (x) y) S 1 1 1 0 -1 0 {rest} {START_TICKS} 0"
        )
        (folder / "schedstat").write_text("5000 100 3")
        self.books.vms[slot]["tgid"] = pid
        self.books.vms[slot]["seen_ns"] = self.clock.ns
        if up:
            self.books.vcpus[slot]["tid"] = pid + 50_000
            self.books.vcpus[slot]["vm"] = slot
            self.books.vcpus[slot]["halts"] = 3
            self.books.rings[slot]["kind"] = RingKind.VHOST
            self.books.rings[slot]["flags"] = RingFlag.LIVE
            self.books.rings[slot]["kicks"] = 1
            self.books.vms[slot]["rings"][0] = slot + 1
        return pid

    def raise_(self, kind: SuspicionKind, slot: int, value: int = 0) -> None:
        pid = int(self.books.vms[slot]["tgid"])
        now = self.clock.ns
        self.books.raised.append(Suspicion(kind, now, now, value, pid, slot, slot))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """An empty host."""
    return Scene(tmp_path)


async def settled(scene: Scene) -> None:
    """Let every task of the watch come to its end."""
    scene.watch.hear()
    async with asyncio.timeout(30):
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)


def test_a_thousand_vms_at_once_are_read_in_one_scan(scene: Scene) -> None:
    """However many start together, /proc is read once, and each gets its name."""
    for slot in range(1000):
        scene.add_vm(slot, f"vm{slot}")
        scene.raise_(SuspicionKind.NOTE_VM, slot)

    asyncio.run(settled(scene))

    assert len(scene.watch.vms) == 1000
    assert {vm.name for vm in scene.watch.vms.values()} == {
        f"vm{slot}" for slot in range(1000)
    }
    assert scene.watch.vms[999].taps == ("tap-vm999",)
    assert not scene.said


def test_a_vm_that_vanishes_during_discovery_is_no_error(scene: Scene) -> None:
    """A cell whose process is gone already is passed over."""
    scene.add_vm(0, "stays")
    scene.books.vms[1]["tgid"] = 99
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    scene.raise_(SuspicionKind.NOTE_VM, 1)

    asyncio.run(settled(scene))

    assert [vm.name for vm in scene.watch.vms.values()] == ["stays"]


def test_all_silent_guests_are_asked_together(scene: Scene) -> None:
    """One wake-up asks every silent guest, and marks its cell for the kernel."""
    for slot in range(3):
        scene.add_vm(slot, f"vm{slot}")
        scene.raise_(SuspicionKind.NOTE_VM, slot)
    asyncio.run(settled(scene))
    for slot in range(3):
        scene.raise_(SuspicionKind.SILENT, slot)

    asyncio.run(settled(scene))

    assert scene.questions.asked == [("tap-vm0",), ("tap-vm1",), ("tap-vm2",)]
    assert (scene.books.vms["asked_ns"][:3] == scene.clock.ns).all()
    assert not scene.said


def test_who_boots_or_is_inhibited_is_not_asked(scene: Scene) -> None:
    """Silence is expected of a guest that is not up, or is worked on."""
    scene.add_vm(0, "boots", up=False)
    scene.add_vm(1, "worked-on")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(settled(scene))
    scene.watch.inhibitions.inhibit("worked-on", 1000 * MS)
    scene.raise_(SuspicionKind.SILENT, 0)
    scene.raise_(SuspicionKind.SILENT, 1)

    asyncio.run(settled(scene))

    assert scene.questions.asked == []


def test_a_killed_vmm_is_a_verdict_and_frees_its_slots(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit is told once, with its evidence, and the books are cleared."""
    monkeypatch.setattr("observer.watch.RECHECK_SECONDS", 0.01)
    scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(settled(scene))
    (scene.proc / "1000/stat").unlink()
    scene.raise_(SuspicionKind.EXITED, 0, value=9)
    scene.raise_(SuspicionKind.EXITED, 0, value=9)

    asyncio.run(settled(scene))

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
    asyncio.run(settled(scene))
    scene.watch.inhibitions.inhibit("web1", 1000 * MS)
    (scene.proc / "1000/stat").unlink()
    scene.raise_(SuspicionKind.EXITED, 0, value=9)

    asyncio.run(settled(scene))

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
    ring = scene.books.rings[0]
    ring["kind"], ring["eventfd_id"], ring["since_ns"] = RingKind.USER, 5, 1
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(settled(scene))
    scene.raise_(SuspicionKind.BACKEND, 0)
    scene.clock.ns += 2000 * MS
    really_sleep, slept = asyncio.sleep, []

    async def serve(seconds: float) -> None:
        slept.append(seconds)
        kick.write_text("eventfd-count: 0\neventfd-id: 5\n")
        await really_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", serve)

    asyncio.run(settled(scene))

    assert slept
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
    asyncio.run(settled(scene))
    really_sleep = asyncio.sleep

    async def live_on(seconds: float) -> None:
        scene.clock.ns += max(1, int(seconds * 10**9))
        scene.books.vms[0]["sign_ns"] = scene.clock.ns
        await really_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", live_on)
    scene.notes.clear()
    scene.raise_(kind, 0)

    asyncio.run(settled(scene))

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

    asyncio.run(settled(scene))
    assert read == [pid]
    assert not scene.said
    assert not [note for note, _ in scene.notes if note == "refuted"]

    async def in_earnest() -> None:
        scene.raise_(SuspicionKind.BACKEND, 0)
        scene.watch.hear()
        async with asyncio.timeout(30):
            await scene.spoke.wait()

    asyncio.run(in_earnest())
    assert [verdict.kind for verdict in scene.said] == [VerdictKind.VMM_STOPPED]


def test_a_vm_that_took_anothers_place_is_well_once_it_is_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the dead one is, nor the next one while it boots."""
    pid = scene.add_vm(0, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 0)
    asyncio.run(settled(scene))
    dead = Verdict(
        "", scene.clock.ns, "web1", "web1", VerdictKind.VMM_CRASHED, 0, 0, "", "", pid
    )
    stopped = msgspec.structs.replace(dead, kind=VerdictKind.VMM_STOPPED)
    assert not scene.watch.is_well(dead)
    assert not scene.watch.is_well(stopped)
    scene.books.vms[0]["sign_ns"] = scene.clock.ns + 2 * MS
    assert scene.watch.is_well(stopped)

    booting = True
    monkeypatch.setattr(scene.watch, "is_booting", lambda _: booting)
    scene.add_vm(1, "web1")
    scene.raise_(SuspicionKind.NOTE_VM, 1)
    asyncio.run(settled(scene))
    assert not scene.watch.is_well(dead)
    booting = False
    assert scene.watch.is_well(dead)


@pytest.mark.parametrize(
    ("repair", "said"),
    [
        (RepairPolicy(), "would restart the VM"),
        (RepairPolicy(care=("web*",)), "would restart-service"),
        (RepairPolicy(care=("web*",), dry_run=False), "restart-service"),
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
    asyncio.run(settled(scene))
    shutil.rmtree(scene.proc / str(pid))
    scene.raise_(SuspicionKind.EXITED, 0, value=9)
    asyncio.run(settled(scene))

    assert [(v.action, v.pid) for v in scene.said] == [(said, pid)]
