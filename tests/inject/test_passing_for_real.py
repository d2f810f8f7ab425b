# SPDX-License-Identifier: Apache-2.0
"""Faults and harmless cases that a guest survives, each seen by a second source."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.inventory.vhost_worker import vhost_workers

pytestmark = [
    pytest.mark.nested,
    pytest.mark.newest,
    pytest.mark.vm,
    pytest.mark.timeout(600),
]

SECONDS = 60
NS_PER_S = 10**9
# A neighbour last used while stale is asked once more, 5 s later: DELAY_PROBE_TIME,
# net/ipv4/arp.c.
LAST_WORD_SECONDS = 6.0


@pytest.fixture
def seen(guest, witness):
    """The second sources on the lasting guest."""
    return witness(guest)


def _rises(measure, what, by=1):
    before = measure()
    wait_until(lambda: measure() >= before + by, SECONDS, what)


def _still(measure, seconds=0.5):
    """Whether nothing moves while the time passes."""
    before, end = measure(), time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, SECONDS, "time passed")
    return measure() == before


def _answers(guest):
    argv = ["busybox", "ping", "-q", "-c", "1", "-W", "1", guest.spec.guest_address]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_an_order_is_answered(guest):
    """The control port gives the time of the answer on the host's clock."""
    before = time.monotonic_ns()

    assert before < guest.order("ping") < time.monotonic_ns()


def test_a_busy_guest_loads_all_three_and_ends(guest, seen):
    """CPU, network and disk are used, and afterwards the network is silent."""
    with inject("busy", guest, GUEST_FAULTS):
        _rises(seen.disk_bytes, "the disk was read")
        _rises(seen.packets_from, "packets were sent")
        _rises(
            lambda: sum(map(seen.ran_ns, seen.vcpu_threads())),
            "the vCPUs ran",
            by=NS_PER_S,
        )

    wait_until(lambda: _still(seen.disk_bytes), SECONDS, "rest")
    wait_until(lambda: _still(seen.packets_from, LAST_WORD_SECONDS), SECONDS, "silence")


def test_an_idle_guest_sends_nothing(guest, seen):
    """No chatter of either side looks like a sign of life."""
    inject("idle", guest, GUEST_FAULTS)
    wait_until(lambda: _still(seen.packets_from, LAST_WORD_SECONDS), SECONDS, "rest")

    assert _still(seen.packets_from)


def test_a_guest_without_a_network_obeys_and_has_it_back(guest):
    """Orders do not come that way."""
    wait_until(lambda: _answers(guest), SECONDS, "it answered")
    with inject("link-down", guest, GUEST_FAULTS):
        assert not _answers(guest)
        guest.order("ping")
    wait_until(lambda: _answers(guest), SECONDS, "it answered again")


def test_a_paused_guest_goes_on(guest, seen):
    """QEMU itself says so, and no vCPU runs meanwhile."""
    vcpus = seen.vcpu_threads()
    with inject("paused", guest, GUEST_FAULTS):
        assert seen.run_state() == "paused"
        assert _still(lambda: [seen.ran_ns(vcpu) for vcpu in vcpus])

    assert seen.run_state() == "running"
    guest.order("ping")


def test_a_snapshot_is_complete_and_the_guest_goes_on(guest, seen):
    """The state is in a file, as large as a guest's memory that is in use."""
    with inject("snapshot", guest, GUEST_FAULTS):
        pass

    (progress,) = guest.qmp(("query-migrate", {}))
    assert progress["status"] == "completed"
    assert (guest.files.folder / "state").stat().st_size > 10 << 20
    assert seen.run_state() == "running"


def test_a_stopped_vmm_is_stopped_and_goes_on(guest, seen):
    """Its process state is the witness, and the time lies where the signal was sent."""
    before = time.monotonic_ns()
    with inject("vmm-stop", guest, GUEST_FAULTS) as injection:
        assert before < injection.effect_ns < time.monotonic_ns()
        wait_until(lambda: seen.state(guest.pid) == "T", SECONDS, "QEMU stopped")

    wait_until(lambda: seen.state(guest.pid) != "T", SECONDS, "QEMU went on")
    guest.order("ping")


def test_a_hung_back_end_owes_what_it_was_asked(guest, seen):
    """The guest was reading when it stopped; then it reads on."""
    with inject("backend-hang", guest, GUEST_FAULTS):
        wait_until(
            lambda: seen.state(guest.disk_pid) == "T",
            SECONDS,
            "the back end stopped",
        )
        assert _still(seen.disk_bytes)

    wait_until(lambda: seen.state(guest.disk_pid) != "T", SECONDS, "it went on")
    with inject("busy", guest, GUEST_FAULTS):
        _rises(seen.disk_bytes, "the disk was read again")


def test_a_starved_worker_is_ready_and_gets_no_cpu(guest, seen):
    """It waits while another has its CPU, and everything is put back afterwards."""
    throttle = Path("/proc/sys/kernel/sched_rt_runtime_us")
    (worker, *_), before = vhost_workers(guest.pid), throttle.read_text()
    affinity = os.sched_getaffinity(worker), os.sched_getaffinity(guest.pid)
    with inject("backend-starved", guest, GUEST_FAULTS):
        # It may get a last turn before the other has its CPU for good.
        wait_until(
            lambda: _still(lambda: (seen.ran_ns(worker), seen.packets_from())),
            SECONDS,
            "it got no CPU for half a second",
        )
        ran = seen.ran_ns(worker)
        assert seen.state(worker) == "R"

    assert throttle.read_text() == before
    assert affinity == (os.sched_getaffinity(worker), os.sched_getaffinity(guest.pid))
    wait_until(lambda: seen.ran_ns(worker) > ran, SECONDS, "the worker ran again")


def test_an_overloaded_host_has_more_to_run_than_cpus(guest):
    """The kernel counts three ready threads for each CPU, and none afterwards."""

    def running():
        text = Path("/proc/stat").read_text()
        return int(text.partition("procs_running ")[2].split()[0])

    with inject("host-overload", guest, GUEST_FAULTS):
        wait_until(
            lambda: running() >= 3 * len(os.sched_getaffinity(0)), SECONDS, "overload"
        )
        guest.order("ping", SECONDS)

    wait_until(
        lambda: running() < 3 * len(os.sched_getaffinity(0)), SECONDS, "the host calmed"
    )


def test_a_dry_run_does_nothing(guest):
    """The command line says what it would do, and nothing happens."""
    argv = [
        sys.executable,
        "-m",
        "observer",
        "inject",
        "vmm-crash",
        guest.name,
        "--dry-run",
    ]

    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)

    assert f"would: Kill QEMU, process {guest.pid}" in said.stdout
    guest.order("ping")
