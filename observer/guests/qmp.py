# SPDX-License-Identifier: Apache-2.0
"""One question to QEMU's monitor, asked and answered within a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qemu.qmp import QMPClient, QMPError

from observer.errors import DeadlineError, ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Command", "execute"]

DEADLINE_SECONDS = 30.0
Command = tuple[str, dict[str, Any]]


async def _session(path: Path, commands: Sequence[Command]) -> list[Any]:
    client = QMPClient("inject")
    await client.connect(str(path))
    try:
        return [await client.execute(name, given) for name, given in commands]
    finally:
        await client.disconnect()


def execute(
    path: Path, *commands: Command, timeout: float = DEADLINE_SECONDS
) -> list[Any]:
    """Execute the commands in one session; return what each gave."""
    names = ", ".join(name for name, _ in commands)
    try:
        return asyncio.run(asyncio.wait_for(_session(path, commands), timeout))
    except TimeoutError:
        raise DeadlineError(
            f"QEMU did not answer {names} in {timeout:.0f} s."
        ) from None
    except QMPError as error:
        raise ProgramError(f"QEMU refused {names}: {error}.") from error
