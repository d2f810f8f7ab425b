# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from findings import Finding, Monitor, finding_in, judged
from hypothesis import given
from hypothesis import strategies as st
from target import Ring, owed_on, ring_of, ring_orders

from observer.model import VerdictKind

RINGS = [Ring("disk0 queue 0", 128, 0x1000, 0x2000, 3)]
MS = 1_000_000


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("found vcpu 1 104000000", Finding("vcpu", 1, 104_000_000)),
        ("found panic 0 3", Finding("panic", 0, 3)),
        ("ok forget", None),
        ("found vcpu -1 2", None),
        ("found vcpu", None),
        ("", None),
    ],
)
def test_only_a_finding_is_one(line, found):
    """What a responder says is not trusted to make sense."""
    assert finding_in(line) == found


@given(st.text())
def test_no_line_is_too_much(line):
    """Whatever it is."""
    finding_in(line)


@pytest.mark.parametrize(
    ("finding", "monitor", "vcpus", "kind", "subject"),
    [
        (("panic", 0, 1), Monitor.SILENT, 2, VerdictKind.GUEST_HUNG, "guest"),
        (("all", 1, MS), Monitor.RUNNING, 2, VerdictKind.GUEST_HUNG, "guest"),
        (("vcpu", 1, MS), Monitor.RUNNING, 2, VerdictKind.VCPU_HUNG, "vcpu1"),
        (("vcpu", 0, MS), Monitor.RUNNING, 1, VerdictKind.GUEST_HUNG, "guest"),
        (("all", 0, MS), Monitor.GONE, 1, VerdictKind.VMM_CRASHED, None),
        (("all", 0, MS), Monitor.SILENT, 1, VerdictKind.VMM_HUNG, None),
        (("guest", 0, 3), Monitor.RUNNING, 1, VerdictKind.GUEST_HUNG, "guest"),
        (("guest", 0, 3), Monitor.SILENT, 1, VerdictKind.VMM_HUNG, None),
        (("backend", 0, 3), Monitor.RUNNING, 1, VerdictKind.BACKEND_HUNG, "disk0"),
        (("backend", 0, 3), Monitor.SILENT, 1, VerdictKind.BACKEND_HUNG, "disk0"),
        (("all", 0, MS), Monitor.STOPPED, 1, VerdictKind.VMM_STOPPED, None),
        (("vcpu", 0, MS), Monitor.STOPPED, 2, VerdictKind.VMM_STOPPED, None),
        (("guest", 0, 3), Monitor.STOPPED, 1, VerdictKind.VMM_STOPPED, None),
        (("backend", 0, 3), Monitor.STOPPED, 1, VerdictKind.VMM_STOPPED, None),
        (("backend", 0, 3), Monitor.GONE, 1, VerdictKind.VMM_CRASHED, None),
    ],
)
def test_a_finding_is_a_verdict(finding, monitor, vcpus, kind, subject):
    """Its kind and subject, by what the VM's monitor says."""
    said = judged(Finding(*finding), monitor, vcpus, RINGS)

    assert (said.kind, said.subject) == (kind, subject)


@pytest.mark.parametrize("what", ["all", "vcpu", "guest", "backend"])
def test_a_paused_guest_owes_nothing(what):
    """But for a panic, which no pause makes."""
    assert judged(Finding(what, 0, 1), Monitor.PAUSED, 1, RINGS) is None


def test_a_ring_that_nobody_named_is_passed_over():
    """A responder is not trusted either; nor is a finding that has no name."""
    assert judged(Finding("backend", 1, 1), Monitor.RUNNING, 1, RINGS) is None
    assert judged(Finding("well", 0, 0), Monitor.RUNNING, 1, RINGS) is None


@pytest.mark.parametrize(
    ("device", "queue", "queues", "owed"),
    [
        ("virtio-net", 0, 3, 2),
        ("virtio-net", 1, 3, 1),
        ("virtio-net", 2, 3, 0),
        ("virtio-net", 3, 5, 1),
        ("vhost-user-blk", 0, 1, 3),
        ("virtio-blk", 1, 2, 3),
        ("virtio-serial", 0, 2, 0),
    ],
)
def test_who_owes_on_a_queue(device, queue, queues, owed):
    """Back end 1, guest 2."""
    assert owed_on(device, queue, queues) == owed


PLACES = {"num": 256, "desc": 0x3000, "avail": 0x4000, "used": 0x5000}
OF_VIRTIO = {f"vring-{word}": value for word, value in PLACES.items()}
OF_VHOST = {f"{word}-phys": value for word, value in PLACES.items()} | {
    "num": 256,
    "desc": 0x7F0000003000,
    "avail": 0x7F0000004000,
    "used": 0x7F0000005000,
}


@pytest.mark.parametrize("status", [OF_VIRTIO, OF_VHOST])
def test_a_ring_is_told_in_one_line(status):
    """As QEMU says it of its own rings, and of those that vhost serves."""
    ring = ring_of("nic0 queue 1", 1, status)

    assert ring is not None
    assert ring_orders([ring]) == ["ring 0 256 0x4000 0x5000 1"]


def test_a_ring_without_a_driver_has_no_place():
    """It comes when the guest's driver does."""
    assert ring_of("nic0 queue 1", 1, {**OF_VIRTIO, "vring-desc": 0}) is None
