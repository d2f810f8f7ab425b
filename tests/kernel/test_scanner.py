# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest

from observer.config import Limits, Policy
from observer.kernel.cells import NO_SLOT, RING, VCPU, VM, RingFlag, RingHush, RingKind
from observer.kernel.scanner import RingReading, Scanner, VcpuReading, limits_of
from observer.model import SuspicionKind

MS = 1_000_000
NOW = 5_000 * MS


def _ring(*, known=True, blocked=False, taken=False, waited_ns=0):
    return RingReading(known, blocked, taken, waited_ns)


class Kernel:
    """Answers second readings as it was told to, and counts them."""

    def __init__(self):
        self.vcpu_reading = VcpuReading(
            known=True, asleep=False, owed_ns=150 * MS, own_exits=9
        )
        self.ring_reading = _ring()
        self.readings = 0

    def vcpu(self, _slot):
        """As told."""
        self.readings += 1
        return self.vcpu_reading

    def ring(self, _slot):
        """As told."""
        self.readings += 1
        return self.ring_reading


@pytest.fixture
def books():
    """One VM that is in order, with one vCPU and one ring."""
    made = SimpleNamespace(
        vms=np.zeros(2, VM), vcpus=np.zeros(2, VCPU), rings=np.zeros(2, RING)
    )
    made.vms[0]["tgid"], made.vms[0]["sign_ns"] = 70, NOW
    made.vcpus[0]["tid"], made.vcpus[0]["own_ns"] = 71, NOW
    made.vcpus[0]["own_exits"] = 9
    made.rings[0]["kind"] = RingKind.VHOST
    return made


@pytest.fixture
def kernel():
    """What the scanner asks."""
    return Kernel()


@pytest.fixture
def scanner(books, kernel):
    """A scanner of all cells that were used."""
    used = np.array([1, 1, 1], "u8")
    limits = Limits(vcpu=100 * MS, backend=20 * MS, starved=50 * MS)
    return Scanner(books, used, limits_of(Policy(limits).knobs()), kernel)


def _scan(scanner, now=NOW):
    return [(s.kind, s.since_ns, s.value) for s in scanner.scan(now)]


def test_nothing_is_read_while_nobody_is_late(scanner, kernel):
    """Cells in order cost no system call."""
    assert scanner.scan(NOW) == []
    assert kernel.readings == 0


def test_a_vcpu_is_suspected_once_for_each_standstill(scanner, books):
    """The words that the alarm writes in the other design are written."""
    books.vcpus[0]["own_ns"] = NOW - 160 * MS

    (suspicion,) = scanner.scan(NOW)

    assert suspicion.kind is SuspicionKind.VCPU
    assert (suspicion.tgid, suspicion.vm, suspicion.slot) == (70, 0, 0)
    assert suspicion.value == 150 * MS
    assert books.vcpus[0]["suspected_exits"] == 10
    assert books.vcpus[0]["suspicions"] == 1
    assert scanner.scan(NOW + 300 * MS) == []


def test_a_vcpu_that_had_no_cpu_is_given_time(scanner, books, kernel):
    """It is read again when it could have run for what is left, not sooner."""
    books.vcpus[0]["own_ns"] = NOW - 160 * MS
    kernel.vcpu_reading = VcpuReading(
        known=True, asleep=False, owed_ns=30 * MS, own_exits=9
    )

    assert scanner.scan(NOW) == []
    assert scanner.scan(NOW + 69 * MS) == []
    assert kernel.readings == 1
    scanner.scan(NOW + 70 * MS)
    assert kernel.readings == 2


@pytest.mark.parametrize(
    "reading",
    [
        VcpuReading(known=False, asleep=False, owed_ns=150 * MS, own_exits=9),
        VcpuReading(known=True, asleep=True, owed_ns=150 * MS, own_exits=9),
        VcpuReading(known=True, asleep=False, owed_ns=150 * MS, own_exits=10),
    ],
    ids=["gone", "asleep", "moved on"],
)
def test_a_vcpu_that_owes_nothing_is_not_suspected(scanner, books, kernel, reading):
    """Time alone proves nothing."""
    books.vcpus[0]["own_ns"] = NOW - 160 * MS
    kernel.vcpu_reading = reading

    assert scanner.scan(NOW) == []


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (_ring(), (SuspicionKind.BACKEND, 60)),
        (_ring(blocked=True), (SuspicionKind.BLOCKED, 60)),
        (_ring(waited_ns=55 * MS), (SuspicionKind.STARVED, 55)),
        (_ring(waited_ns=45 * MS), None),
        (_ring(known=False), None),
    ],
    ids=["hung", "blocked", "starved", "waits", "gone"],
)
def test_a_ring_is_judged_by_what_its_worker_could_do(
    scanner, books, kernel, reading, expected
):
    """Time that it waited for a CPU is taken out, and is a verdict of its own."""
    books.rings[0]["since_ns"] = NOW - 60 * MS
    kernel.ring_reading = reading

    found = _scan(scanner)

    if expected is None:
        assert found == []
    else:
        kind, value_ms = expected
        assert found == [(kind, NOW - 60 * MS, value_ms * MS)]
        assert books.rings[0]["suspicions"] == 1


def test_a_debt_that_no_kick_has_told_of_is_another_suspicion(scanner, books):
    """Its back end may wait for a kick that its guest is about to make."""
    books.rings[0]["since_ns"] = NOW - 60 * MS
    books.rings[0]["flags"] = RingFlag.UNKICKED

    assert _scan(scanner) == [(SuspicionKind.UNKICKED, NOW - 60 * MS, 60 * MS)]


@pytest.mark.parametrize("taken", [False, True])
def test_a_process_may_have_read_its_kick(scanner, books, kernel, taken):
    """A kick that was taken but not answered is a suspicion of its own."""
    books.rings[0]["kind"], books.rings[0]["since_ns"] = RingKind.USER, NOW - 30 * MS
    kernel.ring_reading = _ring(taken=taken)

    kind = SuspicionKind.UNCALLED if taken else SuspicionKind.BACKEND
    assert _scan(scanner) == [(kind, NOW - 30 * MS, 30 * MS)]


def test_a_debt_that_the_reading_closed_is_paid(scanner, books, kernel):
    """The kernel's program closes what was paid; nothing is raised then."""
    books.rings[0]["since_ns"] = NOW - 60 * MS

    def paid(_slot):
        books.rings[0]["since_ns"] = 0
        return kernel.ring_reading

    kernel.ring = paid

    assert scanner.scan(NOW) == []


def test_a_hushed_ring_is_silent(scanner, books):
    """User space may close its mouth."""
    books.rings[0]["since_ns"] = NOW - 60 * MS
    books.rings[0]["hushed"] = RingHush.ALL

    assert scanner.scan(NOW) == []


def test_a_guest_is_asked_then_suspected(scanner, books):
    """Silence, a question, no answer: each is raised once, in this order."""
    books.vcpus[0]["halt_ns"] = books.vcpus[0]["own_ns"]
    later = NOW + 500 * MS
    (silent,) = scanner.scan(later)
    books.vms[0]["asked_ns"] = later + MS
    assert scanner.scan(later + 10 * MS) == []
    (unanswered,) = scanner.scan(later + 51 * MS)
    assert scanner.scan(later + 160 * MS) == []

    assert (silent.kind, silent.since_ns) == (SuspicionKind.SILENT, NOW)
    assert (silent.vm, silent.slot) == (0, NO_SLOT)
    assert unanswered.kind is SuspicionKind.UNANSWERED
    assert unanswered.value == 50 * MS
