# SPDX-License-Identifier: Apache-2.0
"""Orders on a control port: what a service may say to them, and what it may fail to."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from observer.errors import DeadlineError, ObserverError, ProgramError
from observer.services.control import is_heard, order, say

if TYPE_CHECKING:
    from pathlib import Path


async def _ordered(socket: Path, says: bytes, *, closes: bool) -> list[str]:
    """What an order gets of a service that hears a line and says this."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"stats\n"
        writer.write(says)
        await writer.drain()
        if not closes:
            await over.wait()
        writer.close()

    async with await asyncio.start_unix_server(serve, socket):
        try:
            return await order(socket, "stats", 0.2)
        finally:
            over.set()


def ordered(folder: Path, says: bytes, *, closes: bool = False) -> list[str]:
    return asyncio.run(_ordered(folder / "control", says, closes=closes))


def test_an_answer_is_all_lines_before_ok(tmp_path: Path) -> None:
    """A greeting that was still to be read is among them."""
    said = b"up net 1\r\nstats nic in=7\r\nok stats\r\nlater\r\n"
    assert ordered(tmp_path, said) == ["up net 1", "stats nic in=7"]


@pytest.mark.parametrize(
    ("says", "closes", "error", "said"),
    [
        (b"refused stats\n", False, ProgramError, "refused: stats"),
        (b"refused other\nok sta", False, DeadlineError, "did not answer stats in"),
        (b"", False, DeadlineError, "did not answer stats in"),
        (b"stats nic", True, ProgramError, "gave no answer to stats"),
        (b"\n", False, ProgramError, "gave no answer to stats"),
        (b"beat\n" * 5000, False, ProgramError, "gave no answer to stats"),
        (b"\xff" * 70000, False, ProgramError, "its line has no end"),
    ],
)
def test_what_is_no_answer_is_one_sentence(
    tmp_path: Path,
    says: bytes,
    *,
    closes: bool,
    error: type[ObserverError],
    said: str,
) -> None:
    """It refuses, says something else, nothing, half a line, or no end."""
    with pytest.raises(error, match=said) as caught:
        ordered(tmp_path, says, closes=closes)
    assert caught.value.message.count(". ") == 0


def test_nobody_listens(tmp_path: Path) -> None:
    """A service that is not up."""
    with pytest.raises(ProgramError, match="cannot be reached"):
        asyncio.run(order(tmp_path / "control", "stats", 1.0))


def test_what_is_said_is_heard_until_the_other_end_hangs_up(tmp_path: Path) -> None:
    """Nothing is waited for: whoever says it may have little time."""
    control = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as port:
        port.bind(str(control))
        port.listen()
        with say(control, "beat") as wire:
            assert is_heard(wire)
            with port.accept()[0] as other:
                assert other.recv(100) == b"beat\n"
                other.sendall(b"up net 1\n")
                assert is_heard(wire)
            wire.recv(100)
            assert not is_heard(wire)


def test_where_nobody_listens_nothing_is_said(tmp_path: Path) -> None:
    """The error names the port."""
    with pytest.raises(ProgramError, match="cannot be reached"):
        say(tmp_path / "control", "beat")
