# SPDX-License-Identifier: Apache-2.0
"""Ask a QEMU whether it runs, under a deadline; its silence is an answer too."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from observer.errors import DeadlineError
from observer.model import RunState

__all__ = ["ask_run_state", "run_state_of"]

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


async def ask_run_state(path: str, deadline_seconds: float) -> tuple[RunState, str]:
    """Run state and QEMU's own word for it.

    Raises `DeadlineError` if it does not answer in time; a socket that is not there or
    is held by another client gives UNKNOWN.
    """
    from qemu.qmp import ConnectError, QMPClient

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    client = QMPClient("observer")
    try:
        async with asyncio.timeout(deadline_seconds):
            await client.connect(path)
            reply = await client.execute("query-status")
            word = msgspec.convert(reply, _Status).status
            return run_state_of(word), word
    except TimeoutError as e:
        raise DeadlineError(
            f"QMP at {path} did not answer within {deadline_seconds:g} s."
        ) from e
    except (ConnectError, OSError) as e:
        return RunState.UNKNOWN, str(e)
    finally:
        await _leave(client)


async def _leave(client: object) -> None:
    """Disconnect, but do not wait for a QEMU that does not."""
    try:
        async with asyncio.timeout(0.05):
            await client.disconnect()  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001, S110 - leaving must not fail, whatever it raises
        pass
