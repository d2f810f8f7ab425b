# SPDX-License-Identifier: Apache-2.0
"""What is said of a monitor's events, and of its end."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.experiment.qmp_events import event_in, hear_one
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = {"GUEST_PANICKED": VerdictKind.GUEST_HUNG}
CRASH = ("web1", "vmm-crashed", "web1", "its monitor hung up")
SECONDS = 10.0


def event(name: str, **data: object) -> bytes:
    """A line that QEMU says."""
    return json.dumps({"event": name, "data": data}).encode() + b"\n"


@pytest.fixture
def said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[tuple[str, ...]]]:
    """What is said while a monitor says these lines and hangs up."""
    path = tmp_path / "qmp.sock"
    guest = SimpleNamespace(name="web1", files=SimpleNamespace(qmp=path))

    async def play(lines: tuple[bytes, ...], *, is_cut: bool) -> None:
        async def monitor(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(b'{"QMP": {}}\n')
            if not is_cut:  # else it is reset, for what was asked was never read
                order = json.loads(await reader.readline())
                assert order == {"execute": "qmp_capabilities"}
            writer.writelines((b'{"return": {}}\n', *lines))
            await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(monitor, path):
            await asyncio.wait_for(hear_one(guest, KINDS), SECONDS)

    def hear(*lines: bytes, is_cut: bool = False) -> list[tuple[str, ...]]:
        asyncio.run(play(lines, is_cut=is_cut))
        verdicts = map(json.loads, capsys.readouterr().out.splitlines())
        words = ("vm", "kind", "subject", "evidence")
        return [tuple(verdict[word] for word in words) for verdict in verdicts]

    return hear


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_monitor_that_hangs_up_is_a_crash(
    said: Callable[..., list[tuple[str, ...]]], *, is_cut: bool
) -> None:
    """Also where it is reset, amidst a line."""
    assert said(b'{"event": "GUE', is_cut=is_cut) == [CRASH]


def test_an_event_is_said_before_the_crash_that_follows(
    said: Callable[..., list[tuple[str, ...]]],
) -> None:
    """Others are passed over."""
    panic = ("web1", "guest-hung", "guest", "QEMU told GUEST_PANICKED")

    assert said(event("STOP"), event("GUEST_PANICKED")) == [panic, CRASH]


@pytest.mark.parametrize("by_guest", [False, True])
def test_an_end_that_was_told_is_no_crash(
    said: Callable[..., list[tuple[str, ...]]], *, by_guest: bool
) -> None:
    """Whether the guest wanted it, or somebody on the host."""
    assert not said(event("SHUTDOWN", guest=by_guest))


def test_one_that_is_not_there_is_not_said_to_have_crashed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It went before it was heard, or somebody else listens for it."""
    path = tmp_path / "qmp.sock"
    with socket.socket(socket.AF_UNIX) as once:
        once.bind(str(path))
    guest = SimpleNamespace(name="web1", files=SimpleNamespace(qmp=path))
    asyncio.run(hear_one(guest, KINDS))

    assert not capsys.readouterr().out


@given(st.binary())
def test_no_line_is_too_much(line: bytes) -> None:
    """Whatever QEMU says, or half of it."""
    event_in(line)
