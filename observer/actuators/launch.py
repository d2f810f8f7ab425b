# SPDX-License-Identifier: Apache-2.0
"""Whether a recorded command line can be given again here and now, and doing so."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from observer.actuators.again import why_not_again
from observer.actuators.process import is_gone
from observer.errors import ProgramError
from observer.inventory.command_line import CommandLine, file_id

__all__ = ["start", "why_not_now"]


def why_not_now(
    line: CommandLine, *, is_vmm: bool, vouched: bool, proc: Path = Path("/proc")
) -> str | None:
    """Why it cannot be started again on this host as it is now; None: it can."""
    parent = line.parent
    return why_not_again(
        line,
        is_vmm=is_vmm,
        vouched=vouched,
        file_now=file_id(line.program),
        parent_lives=parent is not None
        and not is_gone(parent.pid, parent.start_ticks, proc),
    )


async def start(line: CommandLine) -> int:
    """Start it as an orphan; its pid, once its program runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "observer.orphan"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _ = await process.communicate(msgspec.json.encode(line))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    words = said.decode(errors="replace").strip()
    if process.returncode or not words.isdecimal():
        raise ProgramError(f"{line.program} was not started: {words or 'unknown why'}.")
    return int(words)
