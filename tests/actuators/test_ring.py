# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from observer.actuators.ring import ReCall, ReKick
from observer.errors import UnfitError
from observer.kernel.cells import RingFlag, RingKind
from observer.model import VerdictKind

if TYPE_CHECKING:
    from conftest import Host

RECEIVE, TRANSMIT = 3, 4
WORKER, VCPU_TID = 101, 102
HUNG = VerdictKind.GUEST_HUNG


def test_the_ring_that_owes_is_kicked(host: Host) -> None:
    """A plan names it, and no other."""
    host.owes(TRANSMIT)
    plan = ReKick(host.find, host.books, host.proc).plan(host.repair())

    assert plan == "kick transmit ring 1 of web, process 100, by eventfd"


def test_a_debt_that_vhost_has_paid_is_not_kicked_for(host: Host) -> None:
    """Its own index tells before the books are closed."""
    host.owes(TRANSMIT)
    host.books.rings[TRANSMIT]["last_avail"] += 1

    with pytest.raises(UnfitError, match="no ring of web waits for vhost-100"):
        ReKick(host.find, host.books, host.proc).plan(host.repair())


def test_a_later_debt_and_another_server_are_left_alone(host: Host) -> None:
    """The verdict was about neither."""
    re_kick = ReKick(host.find, host.books, host.proc)
    host.owes(TRANSMIT, since_ns=2_000_000)
    with pytest.raises(UnfitError, match="no ring"):
        re_kick.plan(host.repair())

    host.owes(TRANSMIT)
    host.put(WORKER, "vhost-200")
    with pytest.raises(UnfitError, match="no ring"):
        asyncio.run(re_kick.act(host.repair()))


def test_who_is_stopped_hears_no_kick(host: Host) -> None:
    """A process that serves rings may be."""
    host.owes(TRANSMIT)
    host.books.rings[TRANSMIT]["kind"] = RingKind.USER
    host.put(WORKER, "vhost-100", "T")

    with pytest.raises(UnfitError, match="is stopped"):
        ReKick(host.find, host.books, host.proc).plan(host.repair())


def test_a_sleeping_guest_is_called(host: Host) -> None:
    """By the ring that it receives by."""
    plan = ReCall(host.find, host.books, host.proc).plan(host.repair(HUNG))

    assert plan == "call web, process 100, by the eventfd of receive ring 0"


@pytest.mark.parametrize("lost", [RingFlag.LIVE, RingFlag.EVENT_IDX])
def test_a_ring_that_does_not_show_consumption_is_not_called(
    host: Host, lost: RingFlag
) -> None:
    """Nor one that vhost does not serve now."""
    host.books.rings[RECEIVE]["flags"] &= ~int(lost) & 0xFF

    with pytest.raises(UnfitError, match="no ring of web shows"):
        ReCall(host.find, host.books, host.proc).plan(host.repair(HUNG))


def test_a_guest_that_runs_is_not_called(host: Host) -> None:
    """It does not sleep through a call; it may have its interrupts off."""
    host.put(VCPU_TID, "CPU 0/KVM", "R", folder=host.proc / "100/task")

    with pytest.raises(UnfitError, match="a vCPU of web runs"):
        ReCall(host.find, host.books, host.proc).plan(host.repair(HUNG))


def test_a_guest_that_runs_and_consumes_nothing_is_called(host: Host) -> None:
    """It lives on, and its interrupts are on: it kicks, or halts."""
    host.put(VCPU_TID, "CPU 0/KVM", "R", folder=host.proc / "100/task")
    slot = host.find("web").slot
    host.books.vms[slot]["unread"] = 1
    host.books.rings[RECEIVE]["unconsumed_ns"] = 1

    plan = ReCall(host.find, host.books, host.proc).plan(host.repair(HUNG))
    assert plan == "call web, process 100, by the eventfd of receive ring 0"


def test_what_cannot_be_read_is_no_missed_call(host: Host) -> None:
    """The rings of this one are nowhere, so nobody is called."""
    with pytest.raises(UnfitError, match="has consumed all"):
        asyncio.run(ReCall(host.find, host.books, host.proc).act(host.repair(HUNG)))
