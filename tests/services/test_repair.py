# SPDX-License-Identifier: Apache-2.0
"""A service that is broken is mended by the observer, and no frame is lost.

OBSERVER_ROUNDS is how often each fault is injected.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from observer.demo.voice import observer_running
from observer.errors import DeadlineError, ProgramError
from observer.guests.traffic import Flow
from observer.guests.waiting import wait_until
from observer.model import Result, StepKind
from observer.services.control import order
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.record import read_record

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.service

ROUNDS = int(os.environ.get("OBSERVER_ROUNDS", "1"))
NET = ServiceFolder(RUNTIME / "net")
POLICY = """
[repair]
dry_run = false
care = ["net"]
rates = {{ vm = 1000, host = 1000, window = "1m" }}
[paths]
state = "{state}"
"""
FAULTS = {
    "nic-hang": StepKind.RESET_PART,
    "netback-hang": StepKind.RESET_PART,
    "service-hang": StepKind.RESTART_SERVICE,
    "service-crash": StepKind.RESTART_SERVICE,
    "kill": StepKind.RESTART_SERVICE,
}


def pid() -> int:
    record = read_record(NET)
    assert record is not None
    assert record.pid is not None
    return record.pid


def salvaged() -> int:
    """Frames that this life found in hand when it began."""
    lines = asyncio.run(order(NET.control, "stats", 10.0))
    (line,) = (line for line in lines if line.startswith("stats net "))
    return int(line.split("salvaged=")[1].split()[0])


def inject(fault: str) -> None:
    if fault == "kill":
        os.kill(pid(), signal.SIGKILL)
        return
    try:
        asyncio.run(order(NET.control, f"fault {fault}", 0.5))
    except (DeadlineError, ProgramError):
        assert fault.startswith("service-")  # it does not answer any more


@pytest.mark.timeout(300 + 200 * ROUNDS)
def test_what_breaks_is_mended_without_losing_a_frame(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    record_property: Callable[[str, object], None],
) -> None:
    """By the finest means that helps, under traffic both ways; all arrive, in order.

    Those that the service had in hand when it died may arrive twice.
    """
    config = tmp_path / "observer.toml"
    config.write_text(POLICY.format(state=tmp_path / "state"))
    inside, outside = hosts
    wrong: list[str] = []
    found = 0
    with observer_running(tmp_path / "log", "--config", str(config)) as voice:
        wait_until(lambda: "vm: net " in voice.notes(), 60, "it saw net")
        with Flow(inside, outside) as out, Flow(outside, inside) as back:
            for round_ in range(ROUNDS):
                for fault, step in FAULTS.items():
                    out.wait_for(30)
                    back.wait_for(30)
                    before, began_ns = pid(), time.monotonic_ns()
                    inject(fault)
                    outcome = voice.wait_for_outcome(
                        lambda o, n=began_ns: o.monotonic_ns > n, 60
                    )
                    if outcome is None or (outcome.result, outcome.step) != (
                        Result.REPAIRED,
                        step,
                    ):
                        heard = [*voice.since(began_ns), *voice.outcomes()]
                        wrong.append(f"{fault} {round_}: {heard} {voice.notes()}")
                        break
                    if pid() != before:
                        found += salvaged()
                    took_ms = outcome.took_ns / 1e6
                    record_property(f"{round_} {fault}", took_ms)
            out.wait_for(30)
            back.wait_for(30)
        assert not wrong, "\n".join(wrong)
        assert len(voice.since(0)) == len(FAULTS) * ROUNDS, voice.since(0)
    for flow in (out, back):
        arrived = list(dict.fromkeys(flow.received))
        assert arrived == list(range(flow.sent))
        assert len(flow.received) - len(arrived) <= found
    assert not NET.ending.exists()
