# SPDX-License-Identifier: Apache-2.0
"""Ask or order a QEMU by QMP, under a deadline; its silence is an answer too."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
from qemu.qmp import QMPClient, QMPError

from observer.errors import DeadlineError, ProgramError
from observer.model import RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Command = tuple[str, Mapping[str, object]]

__all__ = ["ask_run_state", "command", "commands", "run_state_of"]

# RunState in qapi/run-state.json that mean: the guest is meant to run.
RUNNING = frozenset({"running"})
# Somebody wants it not to run; what is in neither set is a fault of its own.
PLANNED = frozenset(
    {
        "paused", "suspended", "prelaunch", "inmigrate", "finish-migrate",
        "postmigrate", "save-vm", "restore-vm", "debug", "colo", "shutdown",
    }
)  # fmt: skip


class _Status(msgspec.Struct, frozen=True):
    status: str


def run_state_of(status: str) -> RunState:
    """Map QEMU's run state."""
    if status in RUNNING:
        return RunState.RUNNING
    return RunState.PAUSED if status in PLANNED else RunState.UNKNOWN


async def command(
    path: str,
    name: str,
    deadline_seconds: float,
    arguments: Mapping[str, object] | None = None,
) -> object:
    """Give one command; QEMU's answer.  Raises what `commands` does."""
    given = arguments or {}
    (answer,) = await commands(path, ((name, given),), deadline_seconds)
    return answer


async def commands(
    path: str, given: Sequence[Command], deadline_seconds: float
) -> list[object]:
    """Give commands one right after the other; QEMU carries them out in that order.

    No answer is waited for in between.  Raises `DeadlineError` if none comes in time,
    `ProgramError` where QEMU refuses, or its socket is not there or held by another
    client.
    """
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    client = QMPClient("observer")
    try:
        async with asyncio.timeout(deadline_seconds):
            await client.connect(path)
            orders = (client.execute(*order) for order in given)
            answers = await asyncio.gather(*orders, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
    except TimeoutError as e:
        raise DeadlineError(
            f"QMP at {path} did not answer within {deadline_seconds:g} s."
        ) from e
    except (QMPError, OSError) as e:
        names = ", ".join(dict.fromkeys(name for name, _ in given))
        raise ProgramError(f"QMP at {path} did not take {names}: {e}.") from e
    finally:
        await _leave(client)
    return list(answers)


async def ask_run_state(path: str, deadline_seconds: float) -> tuple[RunState, str]:
    """Run state and QEMU's own word for it.

    Raises `DeadlineError` if it does not answer in time; a socket that is not there or
    is held by another client gives UNKNOWN.
    """
    try:
        reply = await command(path, "query-status", deadline_seconds)
    except ProgramError as e:
        return RunState.UNKNOWN, e.message
    word = msgspec.convert(reply, _Status).status
    return run_state_of(word), word


async def _leave(client: object) -> None:
    """Disconnect, but do not wait for a QEMU that does not."""
    try:
        async with asyncio.timeout(0.05):
            await client.disconnect()  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001, S110 - leaving must not fail, whatever it raises
        pass
