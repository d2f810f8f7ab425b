# SPDX-License-Identifier: Apache-2.0
"""An observer that is started while something has happened, or will have."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from observer.model import SuspicionKind, VerdictKind

UUID = "3d84f07c-9b19-4cc6-9d25-c2a5e8a7a6f0"
SIGKILL = 9


def die(scene: Any, pid: int, code: int) -> None:
    """As a zombie, and as BPF writes it."""
    folder = scene.proc / str(pid)
    stat = (folder / "stat").read_text()
    (folder / "stat").write_text(stat.replace(") S ", ") Z "))
    (folder / "cmdline").write_text("")
    scene.books.vms[3]["exited"] = 1
    scene.books.vms[3]["exit_code"] = code


async def seen(scene: Any) -> None:
    """Let it see who is there."""
    scene.raise_(SuspicionKind.NOTE_VM, 3)
    await scene.settled()


def watched(scene: Any, *, bell: int) -> None:
    """Run it until nothing is left to judge; with a bell the kernel has something."""

    async def main() -> None:
        books = os.eventfd(bell)
        scene.books.fileno = lambda: books
        stop = asyncio.Event()
        running = asyncio.create_task(scene.watch.run(stop))
        async with asyncio.timeout(30):
            while not scene.books.forgotten:  # noqa: ASYNC110 - the watch tells nobody
                await asyncio.sleep(0.01)
        stop.set()
        await running
        os.close(books)

    asyncio.run(main())


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_vmm_that_ended_between_two_observers_is_judged(
    scene: Any, *, is_heard: bool
) -> None:
    """Once, by the name that it had.

    The first observer saw it alive; the kernel's word of its end is the second's to
    hear, or the first heard it, and died too.
    """
    pid = scene.add_vm(3, "web-1")
    command_line = scene.proc / str(pid) / "cmdline"
    command_line.write_text(f"qemu\0-name\0guest=web-1\0-uuid\0{UUID}\0")
    asyncio.run(seen(scene))
    die(scene, pid, SIGKILL)
    asyncio.run(seen(scene))  # whoever reads it now finds a zombie

    after = type(scene)(scene.proc)
    after.books = after.watch.books = scene.books
    if not is_heard:
        after.raise_(SuspicionKind.EXITED, 3, SIGKILL)
    watched(after, bell=int(not is_heard))
    (verdict,) = after.said
    assert (verdict.vm, verdict.kind) == ("web-1", VerdictKind.VMM_CRASHED)
    assert (verdict.pid, verdict.uuid) == (pid, UUID)
    assert scene.books.forgotten == [3]
