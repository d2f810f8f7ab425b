# SPDX-License-Identifier: Apache-2.0
"""The net service: frames that go in at one port come out at the other."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
from service_vm import MACHINES, ServiceVm, service_vm

from observer.clock import MS
from observer.guests.waiting import wait_until
from observer.services.abi import Abi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ABI = Abi.of_header()
UPLINK, GUESTS = 0, 1
A, B = bytes.fromhex("020000000a01"), bytes.fromhex("020000000b02")
C, D = bytes.fromhex("020000000c03"), bytes.fromhex("020000000d04")
EVERYBODY = b"\xff" * 6
NOBODY = bytes.fromhex("020000000f0f")  # has never sent a frame


@pytest.fixture(scope="module", params=MACHINES)
def net(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ServiceVm]:
    """A net service that obeys faults, behind virtio-mmio and behind PCI."""
    folder = tmp_path_factory.mktemp("net")
    with service_vm("net", folder, 2, "faults=on", machine=request.param) as vm:
        yield vm


def frame(to: bytes, source: bytes, number: int, size: int = 64) -> bytes:
    payload = number.to_bytes(4, "big")
    return (to + source + b"\x88\xb6" + payload).ljust(size, bytes([number % 251]))


@pytest.mark.parametrize("size", [60, 64, 1514, 1535])
def test_a_frame_comes_out_as_it_went_in(net: ServiceVm, size: int) -> None:
    """Every byte of it, both ways."""
    up, down = frame(A, B, 1, size), frame(B, A, 2, size)
    net.wires[GUESTS].send(up)
    net.wires[UPLINK].send(down)

    assert net.wires[UPLINK].receive() == up
    assert net.wires[GUESTS].receive() == down


def test_many_frames_keep_their_order(net: ServiceVm) -> None:
    """More than the rings have room for."""
    sent = [frame(NOBODY, C, n) for n in range(1000)]
    net.wires[GUESTS].send(*sent)

    assert net.wires[UPLINK].take(len(sent)) == sent


def test_a_frame_for_where_it_came_from_stays_there(net: ServiceVm) -> None:
    """Both stations are known behind one port: the other need not hear it."""
    net.wires[GUESTS].send(frame(EVERYBODY, C, 1), frame(EVERYBODY, D, 2))
    assert net.wires[UPLINK].receive() is not None
    assert net.wires[UPLINK].receive() is not None
    before = net.control.stats("net")["filtered"]
    last = frame(EVERYBODY, D, 4)
    net.wires[GUESTS].send(frame(C, D, 3), last)

    assert net.wires[UPLINK].receive() == last
    assert net.control.stats("net")["filtered"] == before + 1


@pytest.mark.parametrize(
    ("part", "to", "from_"), [("nic", UPLINK, GUESTS), ("netback", GUESTS, UPLINK)]
)
def test_a_part_that_hangs_loses_nothing(
    net: ServiceVm, part: str, to: int, from_: int
) -> None:
    """What it should send waits; after its reset all comes, in order and once."""
    assert net.control.order(f"fault {part}-hang") == f"ok fault {part}-hang"
    sent = [frame(NOBODY, C, n) for n in range(600)]
    net.wires[from_].send(*sent)
    assert net.wires[to].receive(0.3) is None
    assert net.control.order(f"reset {part}") == f"ok reset {part}"

    assert net.wires[to].take(len(sent)) == sent
    assert net.wires[to].receive(0.1) is None


@pytest.mark.parametrize("part", ["nic", "netback"])
def test_a_reset_takes_less_than_a_millisecond(net: ServiceVm, part: str) -> None:
    """By the guest's own clock, where an access to a device is no emulated exit."""
    took_ns = []
    for _ in range(9):
        net.control.say(f"reset {part}")
        said = net.control.hear(lambda line: line.startswith(f"reset {part} ns="))
        took_ns.append(int(said.split("ns=")[1].split()[0]))

    assert statistics.median(took_ns) < MS, took_ns


def owing_in_beat(said: str) -> tuple[bool, ...] | None:
    """Whether each part, the NIC's and NetBack, owes work; None where it is no beat."""
    if not said.startswith("beat "):
        return None
    done, given = (int(word, 16).to_bytes(8, "little") for word in said.split()[3:])
    return tuple(done[k : k + 4] != given[k : k + 4] for k in (0, 4))


def test_a_part_that_hangs_owes_work_in_its_beats(net: ServiceVm) -> None:
    """Its shared index runs ahead of its private one, and the other's does not."""
    net.control.order("fault nic-hang")
    net.wires[GUESTS].send(*(frame(NOBODY, C, n) for n in range(5)))
    net.control.hear(lambda said: owing_in_beat(said) == (True, False))
    net.control.order("reset nic")

    assert len(net.wires[UPLINK].take(5)) == 5


def test_a_watchdog_within_reports_a_part_that_hangs(tmp_path: Path) -> None:
    """Where it is asked for: once a failure, and anew after the part was well."""
    with service_vm("net", tmp_path, 2, "faults=on watchdog.ms=20") as vm:
        for number in range(2):
            vm.control.order("fault nic-hang")
            vm.wires[GUESTS].send(frame(NOBODY, C, number))
            said = vm.control.hear(lambda line: line.startswith("report "))
            what, which, age_ms = said.split()[1:]
            assert int(what) == ABI["REPORT_PART"]
            assert int(which, 16) == ABI["SERVICE_NET"] << 8 | ABI["NET_NIC"]
            assert 20 <= int(age_ms) < 1000
            vm.control.order("reset nic")
            assert vm.wires[UPLINK].take(1) == [frame(NOBODY, C, number)]


def test_an_unknown_order_is_refused(net: ServiceVm) -> None:
    """And the service lives on."""
    assert net.control.order("make coffee") == "refused make coffee"
    net.control.say("x" * 500)
    assert net.control.stats("control")["refused"] > 0


def test_no_fault_without_leave(tmp_path: Path) -> None:
    """An image in production cannot be broken by its control port."""
    with service_vm("net", tmp_path, 2) as vm:
        for fault in ("nic-hang", "netback-hang", "service-hang", "service-crash"):
            assert vm.control.order(f"fault {fault}") == f"refused fault {fault}"


def test_a_crash_says_where_and_ends_the_vm(tmp_path: Path) -> None:
    """The triple fault ends QEMU, so that nobody has to miss it first."""
    with service_vm("net", tmp_path, 2, "faults=on") as vm:
        vm.control.say("fault service-crash")
        assert vm.process.wait(30) == 0

        assert "PANIC lib/service.c:" in vm.console()


def held_back(vm: ServiceVm) -> tuple[int, ...]:
    """Frames that the NIC's part and NetBack were given and have not passed on."""
    vm.control.say("beat")
    said = vm.control.hear(lambda line: line.startswith("beat "))
    done, given = (int(word, 16) for word in said.split()[3:])
    owed = (given - done) % (1 << 64)
    return owed % (1 << 32), owed >> 32


HELD = [frame(NOBODY, C, n) for n in range(800)]


def die_with_frames_in_hand(vm: ServiceVm) -> None:
    """600 wait for one part, 200 are in the ring of the other."""
    assert vm.control.stats("net")["salvaged"] == 0
    vm.control.order("fault netback-hang")
    vm.wires[UPLINK].send(*HELD[:600])
    wait_until(lambda: held_back(vm) == (0, 600), 30, "they waited")
    vm.control.order("fault nic-hang")
    vm.wires[UPLINK].send(*HELD[600:])
    wait_until(lambda: held_back(vm) == (200, 600), 30, "the others came")
    vm.process.kill()
    vm.process.wait()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_new_life_sends_what_the_old_one_held(machine: str, tmp_path: Path) -> None:
    """What waited, and what was in a ring: all, in order, once."""
    memory = tmp_path / "memory"
    memory.write_bytes(os.urandom(16 << 20))  # nothing that is believed
    life = partial(service_vm, "net", tmp_path, 2, machine=machine, memory=memory)
    with life("faults=on") as old:
        die_with_frames_in_hand(old)
    with life() as new:
        assert new.wires[GUESTS].take(len(HELD)) == HELD
        assert new.wires[GUESTS].receive(0.1) is None
        stats = new.control.stats("net")
        new.process.kill()
        new.process.wait()
    assert (stats["salvaged"], stats["broken"]) == (800, 0)
    with life() as third:
        assert third.control.stats("net")["salvaged"] == 0


@pytest.mark.parametrize("machine", ["microvm-pci", "q35"])
def test_a_spare_sends_what_the_dead_one_held(machine: str, tmp_path: Path) -> None:
    """Before what came since; all, in order, once, and the memory stays as it was."""
    memory = tmp_path / "memory"
    memory.write_bytes(bytes(16 << 20))
    life = partial(service_vm, "net", machine=machine)
    (tmp_path / "spare").mkdir()
    with (
        life(tmp_path, 2, "faults=on", memory=memory) as serving,
        life(tmp_path / "spare", 2, other=memory) as spare,
    ):
        die_with_frames_in_hand(serving)
        left = memory.read_bytes()
        assert spare.control.order("take over") == "ok take over"
        later = frame(NOBODY, C, 800)
        spare.wires[UPLINK].send(later)

        assert spare.wires[GUESTS].take(801) == [*HELD, later]
        assert spare.wires[GUESTS].receive(0.1) is None
        stats = spare.control.stats("net")
        assert (stats["salvaged"], stats["broken"]) == (800, 0)
        assert memory.read_bytes() == left
        assert spare.control.order("take over") == "ok take over"
        assert spare.wires[GUESTS].receive(0.3) is None


def test_a_spare_that_dies_as_it_takes_over_leaves_all_to_the_next(
    tmp_path: Path,
) -> None:
    """Some may come twice then; none is lost."""
    first, second = tmp_path / "first", tmp_path / "second"
    for memory in (first, second):
        memory.write_bytes(bytes(16 << 20))
    life = partial(service_vm, "net", machine="q35")
    for name in ("spare", "next"):
        (tmp_path / name).mkdir()
    with (
        life(tmp_path, 2, "faults=on", memory=first) as serving,
        life(tmp_path / "spare", 2, memory=second, other=first) as spare,
    ):
        die_with_frames_in_hand(serving)
        spare.control.say("take over")
        came = spare.wires[GUESTS].take(10)
        spare.process.kill()
        spare.process.wait()
    with life(tmp_path / "next", 2, memory=second, other=first) as heir:
        assert heir.control.order("take over") == "ok take over"
        while (another := heir.wires[GUESTS].receive(1.0)) is not None:
            came.append(another)
    times = Counter(came)
    assert times.keys() == set(HELD)
    assert max(times.values()) <= 3  # from the wire, and from each memory


def test_a_spare_believes_no_memory_but_of_its_kind(tmp_path: Path) -> None:
    """It takes over all the same."""
    memory = tmp_path / "memory"
    memory.write_bytes(os.urandom(16 << 20))
    with service_vm("net", tmp_path, 2, machine="q35", other=memory) as spare:
        assert spare.control.order("take over") == "ok take over"
        spare.wires[UPLINK].send(HELD[0])

        assert spare.wires[GUESTS].receive() == HELD[0]
        assert spare.control.stats("net")["salvaged"] == 0
