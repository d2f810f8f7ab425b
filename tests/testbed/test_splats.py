# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.testbed.splats import find_splats, first_splat

SPLATS = [
    "[    8.176619] Kernel panic - not syncing: Attempted to kill init!",
    "[   12.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "[   12.000001][  T812] BUG: KASAN: slab-use-after-free in foo+0x1/0x2",
    "[   12.000001] kernel BUG at mm/slub.c:4321!",
    "[   12.000001] Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "[   12.000001] WARNING: CPU: 1 PID: 77 at kernel/bpf/core.c:1 f+0x1/0x2",
    "[   12.000001] WARNING: possible circular locking dependency detected",
    "[   12.000001] ------------[ cut here ]------------",
    "[   12.000001] general protection fault, probably for address 0xdead: 0000 [#1]",
    "[   12.000001] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [qemu:55]",
    "[   12.000001] NMI watchdog: Watchdog detected hard LOCKUP on cpu 1",
    "[  242.000001] INFO: task vhost-55:56 blocked for more than 120 seconds.",
    "[   12.000001] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "[   12.000001] rcu: INFO: rcu_sched self-detected stall on CPU",
    "[   12.000001] UBSAN: array-index-out-of-bounds in a.c:1:2",
    "[   12.000001] refcount_t: underflow; use-after-free.",
    "[   12.000001] list_del corruption. next->prev should be 1, but was 2",
    "[   12.000001] INFO: possible recursive locking detected",
    "BUG: a line without a time",
]

HARMLESS = [
    "[   12.000001] clocksource: timekeeping watchdog on CPU1: Marking clocksource",
    "[   12.000001] clocksource: wd-tsc-wd excessive read-back delay of 123456ns",
    "[   12.000001] hrtimer: interrupt took 12345678 ns",
    "[   12.000001] perf: interrupt took too long (2503 > 2500)",
    "[   12.000001] traps: a.out[55] general protection fault ip:40 sp:7f error:0",
    "[   12.000001] a.out[55]: segfault at 0 ip 0000000000401106 sp 00007ffd error 4",
    "[   12.000001] kvm: Nested Virtualization enabled",
    "[   12.000001] rcu: Hierarchical SRCU implementation.",
    "[   12.000001] Freeing unused kernel image (initmem) memory: 2824K",
    "[   12.000001] my-daemon: WARNING: the disk is slow",
    "WARNINGS are not enabled",
    "",
]


@pytest.mark.parametrize("line", SPLATS)
def test_finds_what_the_kernel_complains_of(line: str) -> None:
    """Each kind of complaint is found."""
    assert [line] == find_splats(line)


@pytest.mark.parametrize("line", HARMLESS)
def test_leaves_what_a_healthy_kernel_says(line: str) -> None:
    """Neither a slow machine's clock nor a crashing program is a splat."""
    assert find_splats(line) == []


def test_keeps_the_order_and_takes_serial_line_ends() -> None:
    """A serial console ends its lines with a carriage return too."""
    console = "\r\n".join([SPLATS[0], HARMLESS[0], SPLATS[1], ""])

    assert SPLATS[:2] == find_splats(console)


def test_shows_the_first_one_with_what_follows_it() -> None:
    """The call trace says more than the complaint."""
    console = "\r\n".join([HARMLESS[0], SPLATS[1], *("Call Trace:",) * 50])

    first, *trace = first_splat(console).splitlines()

    assert first == SPLATS[1]
    assert set(trace) == {"Call Trace:"}
    assert 20 < len(trace) < 50
    assert first_splat(HARMLESS[0]) == ""
