# SPDX-License-Identifier: Apache-2.0
"""Faults that no guest survives, each seen by a second source."""

import pytest

from observer.errors import DeadlineError, ObserverError, UsageError
from observer.guests.guest import find_guest
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject

pytestmark = [
    pytest.mark.nested,
    pytest.mark.newest,
    pytest.mark.vm,
    pytest.mark.timeout(600),
]

SECONDS = 60
NS_PER_S = 10**9


def _is_deaf(guest):
    try:
        guest.order("ping", 1.0)
    except DeadlineError:
        return True
    return False


def test_one_vcpu_locks_up_and_then_the_other(image, witness):
    """First one alone runs with interrupts off, the guest still obeys; then both do."""
    with linux_guest(GuestSpec("lockup", subnet=200, vcpus=2), image) as guest:
        seen = witness(guest)
        first, second = seen.vcpu_threads()

        inject("vcpu-lockup", guest, GUEST_FAULTS)
        (_, (on, halted)) = seen.registers()
        guest.order("ping")

        assert (on, halted) == (False, False)
        before = seen.ran_ns(second)
        wait_until(lambda: seen.ran_ns(second) > before + NS_PER_S, SECONDS, "it span")

        inject("guest-irqoff-spin", guest, GUEST_FAULTS)

        assert seen.registers() == [(False, False)] * 2
        before = seen.ran_ns(first)
        wait_until(lambda: seen.ran_ns(first) > before + NS_PER_S, SECONDS, "it span")
        assert _is_deaf(guest)
        assert "panic" not in guest.console()


def test_a_halted_guest_uses_no_cpu(image, witness):
    """All vCPUs halt with interrupts off, so nothing will ever wake them."""
    with linux_guest(GuestSpec("halt", subnet=201, vcpus=2), image) as guest:
        seen = witness(guest)
        inject("guest-halt", guest, GUEST_FAULTS)

        wait_until(
            lambda: seen.registers() == [(False, True)] * 2,
            SECONDS,
            "it halted",
        )
        assert _is_deaf(guest)
        assert seen.run_state() == "running"


def test_a_fresh_guest_boots_panics_and_loses_its_processes(guest, witness):
    """The case that boots one ends with it; in between its kernel and processes die."""
    with inject("boot", guest, GUEST_FAULTS):
        seen = witness(guest)
        fresh = find_guest(f"{guest.name}-2")
        vmm, disk = fresh.pid, fresh.disk_pid

        inject("guest-panic", fresh, GUEST_FAULTS)
        wait_until(lambda: "Kernel panic" in fresh.console(), SECONDS, "it panicked")
        assert _is_deaf(fresh)

        inject("backend-crash", fresh, GUEST_FAULTS)
        wait_until(lambda: seen.state(disk) in "ZX", SECONDS, "the back end died")
        assert seen.state(vmm) not in "ZX"

        inject("vmm-crash", fresh, GUEST_FAULTS)
        wait_until(lambda: seen.state(vmm) in "ZX", SECONDS, "the VMM died")
        with pytest.raises(ObserverError):
            inject("vmm-crash", fresh, GUEST_FAULTS)

    with pytest.raises(UsageError, match="not a test guest"):
        find_guest(fresh.name)
