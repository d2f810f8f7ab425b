# SPDX-License-Identifier: Apache-2.0
"""The books against second sources: KVM's own counters, /proc, BTF of the objects."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from observer.daemon import OBJECTS
from observer.experiment.cost import kvm_counter
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.kernel import cells
from observer.kernel.arm import Armed
from observer.kernel.libbpf import Libbpf
from observer.replay.event import EVENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage
    from observer.kernel.books import PinnedBooks
    from observer.kernel.cells import Cells

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(300)]

TURNS = 12
REST_NS = 300_000_000
BPFFS = Path("/sys/fs/bpf/observer-test")


class InUse(NamedTuple):
    """A slot that is taken, and the VM's slot that it belongs to."""

    pool: str
    slot: int
    vm: int


@pytest.fixture(scope="module")
def armed() -> Iterator[Armed]:
    """The programs, pinned in a folder of their own."""
    one = Armed(Libbpf(), OBJECTS, {}, BPFFS)
    yield one
    one.books.close(detach=True)


@pytest.fixture(scope="module")
def guest(image: GuestImage) -> Iterator[Guest]:
    """An idle guest with two vCPUs."""
    with linux_guest(GuestSpec("books", subnet=36, vcpus=2), image) as up:
        yield up


def test_exits_agree_with_kvms_own_counters(armed: Armed, guest: Guest) -> None:
    """All exits and HLT exits over the same time are those that KVM counts itself."""
    guest.order("busy cpu")
    wait_until(lambda: len(vcpus_of(armed, guest.pid)) == 2, 30, "both were seen")
    guest.qmp(("stop", {}))  # nothing moves while both are read
    ours, kvms = vcpus_of(armed, guest.pid), kvm_counter(guest.pid, "exits")
    halts = kvm_counter(guest.pid, "halt_exits")
    guest.qmp(("cont", {}))
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 3, 5, "three seconds passed")
    guest.qmp(("stop", {}))
    now = vcpus_of(armed, guest.pid)
    seen = int((now["own_exits"] + now["host_exits"]).sum())
    seen -= int((ours["own_exits"] + ours["host_exits"]).sum())
    counted = kvm_counter(guest.pid, "exits") - kvms
    halted = kvm_counter(guest.pid, "halt_exits") - halts
    guest.qmp(("cont", {}))
    guest.order("busy off")

    assert counted > 300
    # exits that KVM handles before it traces them, or counts twice, are few
    assert seen == pytest.approx(counted, rel=0.02)
    assert int((now["halts"] - ours["halts"]).sum()) == pytest.approx(halted, abs=4)
    assert armed.books.dropped() == dict.fromkeys(armed.books.dropped(), 0)


def test_cells_name_the_threads_that_qemu_names(armed: Armed, guest: Guest) -> None:
    """A vCPU's cell has its thread and number; QEMU names its threads after both."""
    wait_until(lambda: len(vcpus_of(armed, guest.pid)) == 2, 30, "both were seen")
    task = Path(f"/proc/{guest.pid}/task")
    named = {
        int(p.parent.name): int(m[1])
        for p in task.glob("*/comm")
        if (m := re.fullmatch(r"CPU (\d+)/KVM\n", p.read_text()))
    }
    used = vcpus_of(armed, guest.pid)

    assert {int(c["tid"]): int(c["id"]) for c in used} == named


def test_ring_indices_are_those_in_guest_memory(armed: Armed, guest: Guest) -> None:
    """Vhost's own indices meet those in guest memory once the guest is at rest."""
    from observer.inventory.guest_memory import read_ring_words

    books = armed.books
    guest.order("busy net")
    rings, vm = books.rings, slot_of(armed, guest.pid)

    def mine() -> list[int]:  # other tests' guests live on beside it
        vhost = (rings["vm"] == vm) & (rings["kind"] == cells.RingKind.VHOST)
        return [int(slot) for slot in np.flatnonzero(vhost)]

    wait_until(lambda: len(mine()) == 2, 30, "rings came")
    guest.order("busy off")
    vhost = mine()
    assert len(vhost) == 2  # also after its devices were stopped and continued
    assert {int(books.rings[s]["index"]) for s in vhost} == {0, 1}

    def at_rest() -> bool:
        for slot in map(int, vhost):
            assert books.look_at_ring(slot)
            ring = books.rings[slot]
            words = read_ring_words(
                guest.pid,
                int(ring["avail_addr"]),
                int(ring["used_addr"]),
                int(ring["num"]),
            )
            if words.used != ring["last_used"]:
                return False
            if ring["index"] == 1 and words.avail != ring["last_avail"]:
                return False
        return True

    wait_until(at_rest, 10, "the rings were at rest")


def test_rings_are_told_apart_however_often_their_eventfds_are_new(
    armed: Armed, guest: Guest
) -> None:
    """Stopping frees all eventfds of a VM: the memory of one may be another's next."""
    rings = armed.books.rings
    vm = slot_of(armed, guest.pid)
    sent = Path(f"/sys/class/net/{guest.spec.tap}/statistics/rx_packets")
    both = {(cells.RingKind.VHOST, 1), (cells.RingKind.USER, 0)}

    def kicked() -> Cells:
        return rings[(rings["vm"] == vm) & (rings["kicks"] > before)]

    def went_on() -> bool:
        served = {(int(r["kind"]), int(r["index"])) for r in kicked()}
        return served >= both and int(sent.read_text()) > packets + 2

    for turn in range(TURNS):
        # stopped at work it stood still for good now and then, by its rings' own words
        wait_for_rest(armed, vm)
        guest.qmp(("stop", {}), ("cont", {}))
        if turn % 4 == 1:  # meanwhile the VMM serves the rings, by the same doorbells
            guest.qmp(("set_link", {"name": "nic0", "up": False}))
            guest.qmp(("set_link", {"name": "nic0", "up": True}))
        before, packets = rings["kicks"].copy(), int(sent.read_text())
        guest.order("busy net")
        guest.order("busy disk")
        wait_until(went_on, 30, f"disk and network went on in turn {turn}")
        doorbells = kicked()["doorbell"]
        assert len(set(map(int, doorbells))) == len(doorbells)
        vhost = (rings["vm"] == vm) & (rings["kind"] == cells.RingKind.VHOST)
        assert all(armed.books.look_at_ring(int(s)) for s in np.flatnonzero(vhost))
        guest.order("busy off")


def wait_for_rest(armed: Armed, vm: int) -> None:
    """No ring of it is kicked any more: the last request is long served."""
    rings, last_ns, seen = armed.books.rings, time.monotonic_ns(), -1

    def at_rest() -> bool:
        nonlocal last_ns, seen
        now_ns = time.monotonic_ns()
        kicks = int(rings["kicks"][rings["vm"] == vm].sum())
        if kicks != seen:
            seen, last_ns = kicks, now_ns
        return now_ns - last_ns > REST_NS

    wait_until(at_rest, 30, "the guest's rings were at rest")


def test_a_vm_that_ends_leaves_no_slot_taken(armed: Armed, image: GuestImage) -> None:
    """Its VM, vCPU and ring slots are given back, and nobody else's."""
    books = armed.books
    others = in_use(books)
    with linux_guest(GuestSpec("short", subnet=9), image) as guest:
        slot = slot_of(armed, guest.pid)
        mine = {cell for cell in in_use(books) - others if cell.vm == slot}
        assert {cell.pool for cell in mine} == {"vms", "vcpus", "rings"}
    books.forget(slot)

    left = in_use(books)
    assert others <= left  # whose rings may be entered at any time
    assert {cell.vm for cell in left} <= {
        cell.slot for cell in left if cell.pool == "vms"
    }
    assert not [cell for cell in left if cell.vm == slot]


def vcpus_of(armed: Armed, pid: int) -> Cells:
    vcpus = armed.books.vcpus
    mine = (vcpus["vm"] == slot_of(armed, pid)) & (vcpus["tid"] != 0)
    return vcpus[mine]  # a copy: an index array makes one


def in_use(books: PinnedBooks) -> set[InUse]:
    vms = {InUse("vms", int(s), int(s)) for s in np.flatnonzero(books.vms["tgid"])}
    pools = (("vcpus", books.vcpus, "tid"), ("rings", books.rings, "kind"))
    return vms | {
        InUse(name, int(slot), int(pool[slot]["vm"]))
        for name, pool, word in pools
        for slot in np.flatnonzero(pool[word])
    }


def slot_of(armed: Armed, pid: int) -> int:
    tgids = armed.books.vms["tgid"]
    wait_until(lambda: pid in tgids, 30, "the VM was seen")
    return int(np.flatnonzero(tgids == pid)[0])


@pytest.mark.parametrize(
    ("struct", "dtype"),
    [
        ("vm_cell", cells.VM),
        ("vcpu_cell", cells.VCPU),
        ("ring_cell", cells.RING),
        ("service_cell", cells.SERVICE),
        ("part_cell", cells.PART),
        ("suspicion", cells.SUSPICION),
        ("process", cells.PROCESS),
        ("event", EVENT),
    ],
)
def test_dtypes_are_the_structs_of_the_objects(struct: str, dtype: np.dtype) -> None:
    """Every field has the offset that clang gave it, read from the objects' BTF."""
    found = {}
    for name in ("process", "vcpu", "vring", "service", "record"):
        dump = subprocess.run(
            ["bpftool", "-j", "btf", "dump", "file", OBJECTS / f"{name}.bpf.o"],
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for kind in json.loads(dump)["types"]:
            if kind["kind"] == "STRUCT" and kind["name"] == struct:
                found = {m["name"]: m["bits_offset"] // 8 for m in kind["members"]}
                size = kind["size"]
    ours = {name: dtype.fields[name][1] for name in dtype.names}

    assert found == ours
    assert size == dtype.itemsize
