# SPDX-License-Identifier: Apache-2.0
"""The control port of a service VM: lines out, answers back, within a deadline."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from observer.errors import DeadlineError, ProgramError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_heard", "order", "say"]

MOST_LINES = 1000  # before an answer: a guest is not trusted to come to an end


async def _exchange(control: Path, line: str) -> list[str]:
    reader, writer = await asyncio.open_unix_connection(str(control))
    try:
        writer.write(line.encode() + b"\n")
        await writer.drain()
        said: list[str] = []
        while got := (await reader.readline()).decode(errors="replace").rstrip("\r\n"):
            if got in (f"ok {line}", f"refused {line}"):
                if got.startswith("refused"):
                    why = " ".join(said) or f"The service at {control} refused: {line}."
                    raise ProgramError(why)
                return said
            said.append(got)
            if len(said) > MOST_LINES:
                break
        raise ProgramError(f"The service at {control} gave no answer to {line}.")
    finally:
        writer.close()


def say(control: Path, line: str) -> socket.socket:
    """Say a line and wait for nothing; the connection is the caller's to close.

    Raises ProgramError where nobody listens.
    """
    wire = socket.socket(socket.AF_UNIX)
    try:
        wire.settimeout(0)
        wire.connect(str(control))
        wire.send(line.encode() + b"\n")
    except OSError as e:
        wire.close()
        raise ProgramError(f"The service at {control} cannot be reached ({e}).") from e
    return wire


def is_heard(wire: socket.socket) -> bool:
    """Whether the other end has not hung up on what was said."""
    try:
        return bool(wire.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


async def order(control: Path, line: str, seconds: float) -> list[str]:
    """Say a line; the lines that came before its `ok`.

    Raises ProgramError where it is refused or nobody listens, DeadlineError where no
    answer comes.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _exchange(control, line)
    except TimeoutError:
        raise DeadlineError(
            f"The service at {control} did not answer {line} in {seconds:g} s."
        ) from None
    except ValueError as e:  # asyncio's limit on a line
        raise ProgramError(
            f"The service at {control} cannot be understood: its line has no end."
        ) from e
    except OSError as e:
        raise ProgramError(f"The service at {control} cannot be reached ({e}).") from e
