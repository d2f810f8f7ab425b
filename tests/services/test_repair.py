# SPDX-License-Identifier: Apache-2.0
"""A service that is broken is mended by the observer, and nothing is lost.

OBSERVER_ROUNDS is how often each fault is injected.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from broken_service import (
    OF_DISK,
    OF_NET,
    RESTART,
    Service,
    Writer,
    caring_for,
    check_arrived,
    check_mended_once,
    mended,
)
from unit_rights import check_rights, under

from observer.demo.voice import observer_running
from observer.guests.traffic import Flow
from observer.guests.waiting import wait_until
from observer.model import Result

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

pytestmark = [
    pytest.mark.service,
    pytest.mark.newest,
    pytest.mark.usefixtures("leave_to_break"),
]

ROUNDS = int(os.environ.get("OBSERVER_ROUNDS", "1"))


@pytest.mark.timeout(300 + 200 * ROUNDS)
def test_a_net_is_mended_without_losing_a_frame(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    run: Callable[..., str],
    record_property: Callable[[str, object], None],
) -> None:
    """By the finest means that helps, under traffic both ways; all arrive, in order.

    Those that the service had in hand when it died may arrive twice.  The observer has
    the rights of its unit: enough to arm, to see, to be in time, to mend, to answer.
    """
    inside, outside = hosts
    net, found = Service("net"), 0
    state, runtime = tmp_path / "state", Path("/run/observer")
    for place in (state, runtime):
        place.mkdir(exist_ok=True)
    with caring_for((net,), tmp_path, under=under([state, runtime])) as voice:
        check_rights(int((runtime / "lock").read_text()))
        with Flow(inside, outside) as out, Flow(outside, inside) as back:
            for round_ in range(ROUNDS):
                for fault, step in OF_NET.items():
                    out.wait_for(30)
                    back.wait_for(30)
                    took_ms = mended(voice, net, fault, step)
                    record_property(f"{round_} net {fault}", took_ms)
                    found += net.salvaged() if step is RESTART else 0
            out.wait_for(30)
            back.wait_for(30)
        assert "net" in run(sys.executable, "-m", "observer", "status")
        check_mended_once(voice.since(0), voice.outcomes(), len(OF_NET) * ROUNDS)
        assert "left out" not in voice.notes(), voice.notes()
        assert "error" not in voice.notes(), voice.notes()
    for flow in (out, back):
        check_arrived(flow, found)


@pytest.mark.timeout(300 + 200 * ROUNDS)
def test_a_disk_is_mended_without_an_error(
    tmp_path: Path, disk: Path, record_property: Callable[[str, object], None]
) -> None:
    """While it is written to; each block that was written is there."""
    service = Service("disk")
    with caring_for((service,), tmp_path) as voice:
        with Writer(disk) as writer:
            for round_ in range(ROUNDS):
                for fault, step in OF_DISK.items():
                    writer.wait_for(10)
                    took_ms = mended(voice, service, fault, step)
                    record_property(f"{round_} disk {fault}", took_ms)
            writer.wait_for(10)
        check_mended_once(voice.since(0), voice.outcomes(), len(OF_DISK) * ROUNDS)
    assert not writer.errors


@pytest.mark.usefixtures("net")
def test_an_operator_orders_what_the_policy_does_not(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    run: Callable[..., str],
) -> None:
    """First to see how, then to have it done."""
    net = Service("net")
    argv = [sys.executable, "-m", "observer", "repair", "net"]
    with observer_running(tmp_path / "log") as voice, Flow(*hosts) as flow:
        wait_until(lambda: "vm: net " in voice.notes(), 60, "it saw net")
        flow.wait_for(30)
        net.breaks("nic-hang")
        assert voice.wait(lambda v: v.subject == "net/nic", 10) is not None

        said = run(*argv, "--dry-run")
        assert said.startswith("would: net/nic: reset-part: say `reset nic ")
        assert not voice.outcomes()
        assert run(*argv).startswith("begun: net/nic: reset-part")
        outcome = voice.wait_for_outcome(lambda _: True, 10)
        assert outcome is not None
        assert outcome.result is Result.REPAIRED
        flow.wait_for(30)
