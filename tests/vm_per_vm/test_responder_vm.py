# SPDX-License-Identifier: Apache-2.0
"""Responders in turn in one loop, with a program that plays QEMU."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import responder_vm

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

QEMU = f"""#!{sys.executable}
import os, signal, sys
(control,) = (word for word in sys.argv if word.startswith("socket,id=control,"))
os.write(int(control.rpartition("fd=")[2]), b"up responder 1\\n")
signal.pause()
"""


def test_the_next_responder_is_heard_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket has the number of the one before, of which the loop knows nothing."""
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(QEMU)
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(responder_vm, "START_SECONDS", 10.0)
    pids = []

    async def live() -> None:
        words = "web1", qemu, "", memory, tmp_path / "log"
        async with responder_vm.running_responder(*words) as responder:
            pids.append(responder.pid)

    async def live_twice() -> None:
        await live()
        await live()

    memory = os.memfd_create("memory")
    os.ftruncate(memory, 1 << 20)
    try:
        asyncio.run(live_twice())
    finally:
        os.close(memory)
    assert len(set(pids)) == 2
