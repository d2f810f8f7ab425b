# SPDX-License-Identifier: Apache-2.0
"""A watch over fake books and a recorded /proc: no kernel, no waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from observer.config import Policy
from observer.inventory.register import Register
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
from observer.model import Suspicion, SuspicionKind, Verdict
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
        self.used = np.array([LIMITS["vms"], LIMITS["vcpus"], LIMITS["rings"]])
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
            Register(proc.parent / f"{proc.name}-vms.json"),
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
        (folder / "fd/7").symlink_to("/dev/net/tun")
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

    async def settled(self) -> None:
        """Let every task of the watch come to its end."""
        self.watch.hear()
        async with asyncio.timeout(30):
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(tasks)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """An empty host."""
    return Scene(tmp_path)
