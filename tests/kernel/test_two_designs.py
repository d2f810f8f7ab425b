# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from observer.config import Policy
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.inventory.descriptors import read_descriptors
from observer.kernel.arm import Armed
from observer.kernel.cells import RingKind
from observer.kernel.libbpf import Libbpf
from observer.model import SuspicionKind
from observer.testbed.nested import checkout

pytestmark = [
    pytest.mark.nested,
    pytest.mark.oldest,  # newer kernels' headers are beyond Debian 12's BCC
    pytest.mark.vm,
    pytest.mark.timeout(600),
]

BPFFS = Path("/sys/fs/bpf/two-designs")
OBJECTS = checkout() / "observer/bpf"
MS = 1_000_000
SUBNETS = {"designs": 117, "doomed": 118}
FRAMES = 230
DEADLINE_SECONDS = 120
# Both programs hang on the same events, but the cells are read one after the other.
TOLERANCE = 12

VM_IDENTITY = ["tgid", "flags", "nr_rings"]
VCPU_IDENTITY = ["tid", "task", "id", "isa"]
RING_IDENTITY = [
    *("kick_ctx", "kind", "flags", "vq", "avail_addr", "used_addr", "num", "index"),
    *("eventfd_id", "worker_tid", "doorbell", "device"),
]
# The doorbell is known by a kick only.
IDLE_IDENTITY = [word for word in RING_IDENTITY if word != "doorbell"]


@contextmanager
def _compiled(libbpf, knobs):
    """Numba and BCC are imported only where they are needed, as in the daemon."""
    from observer.kernel.bcc import Compiled

    compiled = Compiled(libbpf, knobs, BPFFS)
    try:
        yield compiled.books
    finally:
        compiled.books.close(detach=True)


@pytest.fixture(scope="module")
def designs():
    """The books of both designs, which watch the same host."""
    knobs, libbpf = Policy().knobs(), Libbpf()
    with _compiled(libbpf, knobs) as scanning:
        sleeping = Armed(libbpf, OBJECTS, knobs, BPFFS).books
        try:
            yield sleeping, scanning
        finally:
            sleeping.close(detach=True)


@contextmanager
def _up(name, designs, image):
    """A guest that is up; its slots are given back, as the daemon does it."""
    # Guests of other tests may be up: on one subnet they would answer for this one.
    with linux_guest(GuestSpec(name, subnet=SUBNETS[name]), image) as running:
        pid = running.pid
        yield running
    # The kernel's next eventfd may lie where one of this guest's was.
    for books in designs:
        for slot in np.flatnonzero(books.vms["tgid"] == pid):
            books.forget(int(slot))


@pytest.fixture(scope="module")
def guest(designs, image):
    """A guest that lives through the tests, and is idle between them."""
    with _up("designs", designs, image) as running:
        yield running


@pytest.fixture
def doomed(designs, image):
    """A guest that a test may leave dead."""
    with _up("doomed", designs, image) as running:
        yield running


def _vm_slot(books, guest):
    (slot,) = np.flatnonzero(books.vms["tgid"] == guest.pid)
    return int(slot)


def _mine(books, guest, pool, in_use):
    cells = getattr(books, pool)
    return cells[(cells["vm"] == _vm_slot(books, guest)) & (cells[in_use] != 0)]


def _identities(cells, words):
    return sorted(tuple(int(cell[word]) for word in words) for cell in cells)


def _sample(books, guest):
    vm = books.vms[_vm_slot(books, guest)]
    vcpus = _mine(books, guest, "vcpus", "tid")
    counts = {word: int(vm[word]) for word in ("kicks", "calls")}
    for word in ("own_exits", "host_exits", "halts"):
        counts[word] = int(vcpus[word].sum())
    return counts


def _ping(guest, frames):
    address = guest.spec.guest_address
    command = ["busybox", "ping", "-q", "-A", "-c", str(frames), address]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_SECONDS)


def _first(books, wanted):
    """Take suspicions until one is as wanted."""
    taken = []

    def found():
        taken.extend(s for s in books.take() if wanted(s))
        return bool(taken)

    wait_until(found, DEADLINE_SECONDS, "a suspicion was raised")
    return taken[0]


def test_both_designs_count_the_same(designs, guest):
    """The same vCPUs and rings are known by the same words, and counted alike."""
    _ping(guest, 3)
    before = [_sample(books, guest) for books in designs]
    _ping(guest, FRAMES)
    after = [_sample(books, guest) for books in designs]

    sleeping, scanning = (
        {word: late[word] - early[word] for word in early}
        for early, late in zip(before, after, strict=True)
    )
    assert sleeping["kicks"] >= FRAMES
    assert sleeping["calls"] >= FRAMES
    for word, count in sleeping.items():
        assert abs(scanning[word] - count) <= TOLERANCE, (word, sleeping, scanning)
    for pool, in_use, words in (
        ("vcpus", "tid", VCPU_IDENTITY),
        ("rings", "kind", RING_IDENTITY),
    ):
        one, other = (
            _identities(_mine(books, guest, pool, in_use), words) for books in designs
        )
        assert one == other
        assert one
    one, other = (books.vms[_vm_slot(books, guest)] for books in designs)
    for word in VM_IDENTITY:
        assert one[word] == other[word]


def test_both_designs_suspect_the_same_vcpu_and_hear_of_its_end(designs, doomed):
    """One that spins with interrupts off is late in both, since the same exit.

    A VMM that is killed is told with the signal, and forgotten when told to.
    """
    start_ns, pid = time.monotonic_ns(), doomed.pid
    doomed.order("irqoff-spin")

    def spins(suspicion):
        late = suspicion.kind is SuspicionKind.VCPU and suspicion.tgid == pid
        return late and suspicion.since_ns > start_ns

    found = [_first(books, spins) for books in designs]

    vcpus = [
        books.vcpus[suspicion.slot]
        for books, suspicion in zip(designs, found, strict=True)
    ]
    assert vcpus[0]["tid"] == vcpus[1]["tid"]
    assert {suspicion.tgid for suspicion in found} == {pid}
    assert abs(found[0].since_ns - found[1].since_ns) < MS
    assert all(suspicion.value >= Policy().limits.vcpu for suspicion in found)

    slots = [_vm_slot(books, doomed) for books in designs]
    os.kill(pid, signal.SIGKILL)

    def died(suspicion):
        return suspicion.kind is SuspicionKind.EXITED and suspicion.tgid == pid

    for books, slot in zip(designs, slots, strict=True):
        assert _first(books, died).value == signal.SIGKILL
        books.forget(slot)
        assert not books.vms[slot]["tgid"]
        assert pid not in books.vms["tgid"]


def _name_server(books, guest):
    """Say who serves the disk's ring, as the daemon does."""
    books.watch_process(guest.disk_pid, _vm_slot(books, guest))
    mine = (books.rings["vm"] == _vm_slot(books, guest)) & (
        books.rings["kind"] == RingKind.USER
    )
    for slot in np.flatnonzero(mine):
        books.rings[slot]["worker_tid"] = guest.disk_pid


@contextmanager
def _stopped_disk(designs, guest):
    """A disk's back end that reads no kick; what both designs suspect of its ring."""
    guest.order("busy disk")
    for books in designs:
        _name_server(books, guest)
    subprocess.run(["kill", "-STOP", str(guest.disk_pid)], check=True)

    def stays(suspicion):
        """Several limits old: the emulated host is slow even while all is well."""
        kinds = (SuspicionKind.BACKEND, SuspicionKind.UNCALLED)
        mine = suspicion.kind in kinds and suspicion.tgid == guest.pid
        return mine and suspicion.value > 500 * MS

    yield [_first(books, stays) for books in designs]
    subprocess.run(["kill", "-CONT", str(guest.disk_pid)], check=True)
    guest.order("idle")


def test_both_designs_suspect_a_stopped_back_end(designs, guest):
    """A disk's back end that is stopped reads no kick; both know its ring.

    A look at a ring opens no debt, e.g. since the back end's last call long ago.
    """
    with _stopped_disk(designs, guest) as found:
        rings = [
            books.rings[suspicion.slot]
            for books, suspicion in zip(designs, found, strict=True)
        ]
        assert rings[0]["kick_ctx"] == rings[1]["kick_ctx"]
        assert rings[0]["kind"] == rings[1]["kind"] == RingKind.USER
        for books, suspicion, ring in zip(designs, found, rings, strict=True):
            ring["since_ns"] = 0
            books.look_at_ring(suspicion.slot)
            assert not ring["since_ns"]

    assert found[0].kind is found[1].kind
    assert abs(found[0].since_ns - found[1].since_ns) < MS


def test_both_designs_enter_rings_that_are_idle(designs, guest):
    """A ring that nobody kicks since the observer came is known by its descriptor."""
    found = []
    for books in designs:
        books.forget(_vm_slot(books, guest))

        def known(books=books):
            entered = guest.pid in books.vms["tgid"]
            return entered and len(_mine(books, guest, "vcpus", "tid")) == 1

        wait_until(known, DEADLINE_SECONDS, "the vCPU was entered again")
        (vcpu,) = np.flatnonzero(books.vcpus["tid"] == _mine_tid(books, guest))
        for fd in read_descriptors(Path("/proc"), guest.pid).vhost:
            books.enter_vhost_file(int(vcpu), fd)
        rings = _mine(books, guest, "rings", "kind")
        found.append(_identities(rings[rings["kind"] == RingKind.VHOST], IDLE_IDENTITY))

    assert len(found[0]) == 2
    assert found[0] == found[1]


def _mine_tid(books, guest):
    return _mine(books, guest, "vcpus", "tid")[0]["tid"]
