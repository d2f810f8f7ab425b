# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.inventory.descriptors import eventfd_count, read_descriptors
from observer.inventory.task import ABSENT, in_guest, look_at_task, parse_stat
from observer.inventory.vmm import (
    find_back_ends,
    name_of,
    qmp_of,
    read_vm,
    uuid_of,
)


def add_process(proc: Path, pid: int, comm: str, fdinfos: list[str]) -> None:
    folder = proc / str(pid)
    (folder / "fdinfo").mkdir(parents=True)
    (folder / "fd").mkdir()
    (folder / "comm").write_text(comm + "\n")
    for number, text in enumerate(fdinfos):
        (folder / "fdinfo" / str(number)).write_text(text)
        is_eventfd = "eventfd-id" in text
        target = "anon_inode:[eventfd]" if is_eventfd else "/dev/net/tun"
        (folder / "fd" / str(number)).symlink_to(target)


def eventfd(number: int, count: int = 0) -> str:
    return f"pos:\t0\nflags:\t04002\neventfd-count: {count:16x}\neventfd-id: {number}\n"


def test_a_vm_has_the_name_that_its_command_line_gives() -> None:
    """`guest=` wins, a bare name does too, else program and pid."""
    assert name_of(["-name", "guest=web1,debug-threads=on"], "qemu", 7) == "web1"
    assert name_of(["-name", "web2"], "qemu", 7) == "web2"
    assert name_of(["-m", "1G"], "crosvm", 7) == "crosvm-7"


def test_the_monitor_is_found_however_it_is_given() -> None:
    """By -qmp, or by -chardev and -mon; a readline monitor is none."""
    chardev = ["-chardev", "socket,id=m,path=/run/q.sock,server=on"]

    assert qmp_of(["-qmp", "unix:/run/a.sock,server=on"]) == "/run/a.sock"
    assert qmp_of([*chardev, "-mon", "chardev=m,mode=control"]) == "/run/q.sock"
    assert qmp_of([*chardev, "-mon", "chardev=m,mode=readline"]) is None


def test_an_instance_has_the_uuid_that_its_command_line_gives() -> None:
    """As OpenStack writes it; what is no UUID is none."""
    uuid = "3d84f07c-9b19-4cc6-9d25-c2a5e8a7a6f0"

    assert uuid_of(["-name", "web1", "-uuid", uuid.upper()]) == uuid
    assert uuid_of(["-uuid", "web1"]) is None
    assert uuid_of(["-name", "-uuid"]) is None


def test_taps_are_those_of_the_descriptors(tmp_path: Path) -> None:
    """Two queues of one tap are one tap."""
    tap = "pos:\t0\niff:\ttap0\n"
    add_process(tmp_path, 7, "qemu", [tap, tap, "pos:\t0\niff:\ttap1\n"])
    assert read_descriptors(tmp_path, 7).taps == ("tap0", "tap1")


def test_who_shares_an_eventfd_is_a_back_end(tmp_path: Path) -> None:
    """Of the VMM that has the same eventfd, and of no other; strangers are not."""
    add_process(tmp_path, 7, "qemu", [eventfd(40), eventfd(41, count=2)])
    add_process(tmp_path, 8, "qemu", [eventfd(50)])
    add_process(tmp_path, 9, "qsd", [eventfd(41), eventfd(60)])
    add_process(tmp_path, 10, "other", [eventfd(70)])

    held = {pid: read_descriptors(tmp_path, pid) for pid in (7, 8)}
    shared = read_descriptors(tmp_path, 9)
    assert find_back_ends(tmp_path, held) == {7: {9: shared}, 8: {}}
    assert shared.eventfds == {41: 0, 60: 1}
    first, second = held[7].eventfds[40], held[7].eventfds[41]
    assert eventfd_count(tmp_path, 7, second, 41) == 2
    assert eventfd_count(tmp_path, 7, first, 41) is None  # that descriptor is another


def test_another_vmm_is_no_back_end_though_it_is_not_read(tmp_path: Path) -> None:
    """A VM more is read alone: what the other VMMs hold is of no interest."""
    add_process(tmp_path, 7, "qemu", [eventfd(40)])
    add_process(tmp_path, 8, "qemu", [eventfd(40)])
    held = {7: read_descriptors(tmp_path, 7)}

    assert find_back_ends(tmp_path, held, {7, 8}) == {7: {}}


def test_a_name_with_brackets_does_not_confuse_stat() -> None:
    """A thread may be called anything; fields count from the last bracket."""
    numbers = " ".join(str(n) for n in range(5, 45))
    state, flags, start = parse_stat(f"7 (CPU 0) (x)/KVM) D 4 {numbers}")
    assert (state, flags, start) == ("D", 9, 22)


@pytest.mark.parametrize(
    ("syscall", "flags", "its_guest_has_it"),
    [
        ("running", 0x1 | 0x400000, True),
        ("running", 0x400000, False),  # at work in QEMU, or on its way to it
        ("16 0xa 0xae80 0x0 0x0", 0, True),  # halted, or waits for a CPU
        ("16 0xa 0x4008af30 0x0", 0, False),  # another ioctl: QEMU stops vhost
        ("202 0x5 0x80 0x0", 0, False),  # waits for a lock of QEMU's
    ],
)
def test_a_vcpu_that_works_for_its_vmm_is_not_in_its_guest(
    tmp_path: Path, syscall: str, flags: int, *, its_guest_has_it: bool
) -> None:
    """Neither on a CPU, where only a flag tells, nor asleep."""
    numbers = " ".join(str(n) for n in range(10, 45))
    (tmp_path / "schedstat").write_text("1 2 3\n")
    (tmp_path / "syscall").write_text(syscall + "\n")
    (tmp_path / "stat").write_text(f"7 (CPU 0/KVM) R 4 5 6 7 8 {flags} {numbers}")

    task = look_at_task(tmp_path)
    assert in_guest(tmp_path, task, met=False) == its_guest_has_it
    assert in_guest(tmp_path, task, met=True) == (
        its_guest_has_it or syscall == "running"
    )


def test_a_vmm_that_is_gone_has_no_name(tmp_path: Path) -> None:
    """Nobody has reaped it yet, and its command line is empty."""
    add_process(tmp_path, 7, "qemu", [])
    (tmp_path / "7/cmdline").write_text("qemu\0-name\0guest=web\0")
    (tmp_path / "7/schedstat").write_text("1 2 3\n")
    numbers = " ".join(str(n) for n in range(5, 45))
    found = {}
    for state in "SZ":
        (tmp_path / "7/stat").write_text(f"7 (qemu) {state} 4 5 6 7 8 0 {numbers}")
        found[state] = read_vm(tmp_path, 7, 0, ())

    assert found["S"] is not None
    assert found["S"].name == "web"
    assert found["Z"] is None


def test_a_vcpu_that_is_gone_is_in_no_guest(tmp_path: Path) -> None:
    """Its files are gone with it."""
    assert look_at_task(tmp_path) == ABSENT
    assert not in_guest(tmp_path, ABSENT, met=True)
