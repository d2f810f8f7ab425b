# SPDX-License-Identifier: Apache-2.0
"""A service whose spare takes its place, under load; its users are the oracle.

OBSERVER_ROUNDS is how often each fault is injected.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from broken_service import (
    Service,
    Writer,
    caring_for,
    check_arrived,
    check_mended_once,
    mended,
)

from observer.guests.traffic import Flow
from observer.guests.waiting import wait_until
from observer.model import StepKind, VerdictKind

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from observer.demo.voice import Voice
    from observer.model import Outcome, Verdict

ROUNDS = int(os.environ.get("OBSERVER_ROUNDS", "1"))

pytestmark = [
    pytest.mark.service,
    pytest.mark.newest,
    pytest.mark.usefixtures("spares"),
    pytest.mark.timeout(300 + 200 * ROUNDS),
]

FAULTS = ("service-hang", "service-crash", "kill")
SWITCH = StepKind.SWITCH_TO_SPARE


def of_services(voice: Voice) -> tuple[list[Verdict], list[Outcome]]:
    """Not of a vhost worker that waits for a CPU while a spare is started.

    The emulated host has two; such a verdict is true, and nobody is restarted for it.
    """
    starved = VerdictKind.BACKEND_STARVED
    return (
        [verdict for verdict in voice.since(0) if verdict.kind is not starved],
        [outcome for outcome in voice.outcomes() if outcome.kind is not starved],
    )


def test_a_spare_serves_at_once_and_no_frame_is_lost(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    service: Callable[..., str],
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever became of the one before it, and by an operator's order."""
    inside, outside = hosts
    net, found = Service("net"), 0
    with caring_for((net,), tmp_path) as voice:
        with Flow(inside, outside) as out, Flow(outside, inside) as back:
            for round_ in range(ROUNDS):
                for fault in FAULTS:
                    net.wait_for_spare()
                    out.wait_for(30)
                    back.wait_for(30)
                    spare = net.record().spare
                    took_ms = mended(voice, net, fault, SWITCH)
                    record_property(f"{round_} net {fault}", took_ms)
                    assert net.pid() == spare
                    found += net.salvaged()
            net.wait_for_spare()
            service("switch", "net")
            found += net.salvaged()
            out.wait_for(30)
            back.wait_for(30)
        check_mended_once(*of_services(voice), len(FAULTS) * ROUNDS)
    check_arrived(out, found)
    check_arrived(back, found)


def test_a_disks_spare_writes_when_the_other_is_gone(
    tmp_path: Path, disk: Path, record_property: Callable[[str, object], None]
) -> None:
    """Without an error, and without a block that is lost."""
    service = Service("disk")
    with caring_for((service,), tmp_path) as voice:
        with Writer(disk) as writer:
            for round_ in range(ROUNDS):
                for fault in FAULTS:
                    service.wait_for_spare()
                    writer.wait_for(10)
                    took_ms = mended(voice, service, fault, SWITCH)
                    record_property(f"{round_} disk {fault}", took_ms)
            writer.wait_for(10)
        check_mended_once(*of_services(voice), len(FAULTS) * ROUNDS)
    assert not writer.errors


def test_a_spare_that_fails_is_replaced(
    tmp_path: Path, hosts: tuple[socket.socket, socket.socket]
) -> None:
    """The observer tells of it as of a part; who serves is left alone."""
    net, faults = Service("net"), ("service-hang", "kill")
    with caring_for((net,), tmp_path) as voice:
        with Flow(*hosts) as flow:
            for fault in faults:
                flow.wait_for(30)
                net.wait_for_spare()
                before = net.record()
                seen = f"vm: net (pid {before.spare}) is watched"
                wait_until(lambda s=seen: s in voice.notes(), 60, seen)
                mended(voice, net, fault, StepKind.RESTART_SERVICE, spare=True)
                net.wait_for_spare()
                now = net.record()
                assert now.pid == before.pid
                assert now.spare not in (None, before.spare)
            flow.wait_for(30)
        verdicts, outcomes = of_services(voice)
        check_mended_once(verdicts, outcomes, len(faults))
        assert {verdict.subject for verdict in verdicts} == {"net/spare"}
    check_arrived(flow, 0)
