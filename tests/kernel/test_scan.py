# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observer.kernel.cells import RING, VCPU, VM
from observer.kernel.scan import LATE, Pools, ScanLimits, find_late

MS = 1_000_000
LIMITS = ScanLimits(100 * MS, 20 * MS, 50 * MS, 500 * MS, 50 * MS)
NOW = 10_000 * MS

VCPU_KIND, RING_KIND, CALLED, SILENT, UNANSWERED = 2, 3, 6, 7, 8

# Few distinct times, so that words are often equal or exactly a limit apart.
times = st.sampled_from([NOW - n * MS for n in (0, 1, 20, 50, 52, 100, 400, 500, 900)])
never_or = st.one_of(st.just(0), times)
flags = st.sampled_from([0, 0, 0, 1])


def cells(dtype, **words):
    """A list of cells with those words; all others are 0."""

    def fill(rows):
        made = np.zeros(len(rows), dtype)
        for cell, row in zip(made, rows, strict=True):
            for word, value in row.items():
                cell[word] = value
        return made

    return st.lists(st.fixed_dictionaries(words), max_size=4).map(fill)


vms = cells(
    VM,
    tgid=st.sampled_from([0, 7]),
    exited=flags,
    hushed=flags,
    sign_ns=times,
    asked_ns=never_or,
    call_ns=never_or,
    suspected_ns=never_or,
)
vcpus = cells(
    VCPU,
    tid=st.sampled_from([0, 8]),
    own_ns=times,
    halt_ns=never_or,
    wake_ns=never_or,
    own_exits=st.sampled_from([3, 4]),
    suspected_exits=st.sampled_from([0, 4, 5]),
)
rings = cells(RING, kind=st.sampled_from([0, 1, 2]), since_ns=never_or)
dues = st.lists(st.sampled_from([0, NOW, NOW + 1]), min_size=4, max_size=4)


def expected_of_vm(vm, last, now):
    """What judge_vm of vcpu.bpf.c raises, said as conditions on ages."""
    since_sign = now - vm["sign_ns"]
    asked = vm["asked_ns"] and vm["asked_ns"] > vm["sign_ns"]
    if not vm["tgid"] or vm["exited"] or vm["hushed"]:
        return None
    if asked and vm["asked_ns"] > vm["suspected_ns"]:
        return UNANSWERED if now - vm["asked_ns"] >= 50 * MS else None
    if vm["call_ns"] > max(vm["sign_ns"], vm["suspected_ns"]):
        return CALLED if now - vm["call_ns"] >= 50 * MS else None
    ticks = set(range(last // (100 * MS) + 1, now // (100 * MS) + 1))
    told = vm["suspected_ns"] > vm["sign_ns"]
    is_new = not told or now - vm["suspected_ns"] >= 500 * MS
    return SILENT if ticks and since_sign >= 400 * MS and is_new else None


def expected_of_vcpu(cell, due, now):
    """One that was not suspected yet, and has been awake for its limit."""
    halted = cell["halt_ns"] == cell["own_ns"] and cell["wake_ns"] <= cell["own_ns"]
    said = cell["suspected_exits"] == cell["own_exits"] + 1
    awake_ns = now - max(cell["own_ns"], cell["wake_ns"])
    return bool(
        cell["tid"] and now >= due and not halted and not said and awake_ns >= 100 * MS
    )


def expected_of_ring(cell, due, now):
    """One whose debt is open for its limit."""
    owes = bool(cell["kind"] and cell["since_ns"])
    return owes and now >= due and now - cell["since_ns"] >= 20 * MS


def plain(array):
    """The cells as dictionaries of Python's own numbers, which never overflow."""
    return [dict(zip(array.dtype.names, c.item(), strict=True)) for c in array]


def expected(pools, last, now):
    """All that is late, in the order of the pools and their slots."""
    found = []
    for slot, vm in enumerate(plain(pools.vms)):
        kind = expected_of_vm(vm, last, now)
        found += [(kind, slot)] if kind else []
    for slot, cell in enumerate(plain(pools.vcpus)):
        if expected_of_vcpu(cell, pools.due_vcpus[slot], now):
            found.append((VCPU_KIND, slot))
    for slot, cell in enumerate(plain(pools.rings)):
        if expected_of_ring(cell, pools.due_rings[slot], now):
            found.append((RING_KIND, slot))
    return found


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile once, outside of hypothesis' deadline."""
    due = np.zeros(1, "i8")
    pools = Pools(np.zeros(1, VM), np.zeros(1, VCPU), np.zeros(1, RING), due, due)
    assert find_late(pools, LIMITS, 0, 0, np.zeros(3, LATE)) == 0


@settings(max_examples=400, deadline=None)
@given(vms, vcpus, rings, dues, dues, st.sampled_from([NOW - MS, NOW - 150 * MS, NOW]))
def test_finds_what_a_plain_reading_finds(  # noqa: PLR0917 - hypothesis gives them
    vms, vcpus, rings, due_vcpus, due_rings, last
):
    """The compiled pass agrees with the rules written out in plain Python."""
    pools = Pools(vms, vcpus, rings, np.array(due_vcpus), np.array(due_rings))
    late = np.zeros(12, LATE)

    count = find_late(pools, LIMITS, last, NOW, late)

    assert [found.item() for found in late[:count]] == expected(pools, last, NOW)


def test_leaves_the_cells_alone():
    """A pass only looks: what is raised is written by who raises it."""
    vm = np.zeros(1, VM)
    vm["tgid"], vm["sign_ns"] = 7, 1
    pools = Pools(
        vm, np.zeros(1, VCPU), np.zeros(1, RING), np.zeros(1, "i8"), np.zeros(1, "i8")
    )
    before = vm.copy()

    assert find_late(pools, LIMITS, 0, NOW, np.zeros(3, LATE)) == 1
    assert vm == before
