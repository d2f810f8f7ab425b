# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.bench.boot import LINUX, Boot
from observer.bench.compare import Row
from observer.bench.quiet import DaemonCost
from observer.bench.report import checks_of

DAEMON = DaemonCost(2, 30.0, 0.2, 40.0, 44.0, 60, 2.0, 15.0, 3)
BOOTS = [
    Boot("net", 40_000, 16, [250.0, 450.0, 200.0]),
    Boot(LINUX, 14_000_000, 128, [13_000.0, 12_000.0, 14_000.0]),
]


def rows(ours=300.0, perf=900.0, bpftrace=500.0, *, counted_all=True):
    added = {"sleeping": ours, "perf kvm stat": perf, "bpftrace": bpftrace}
    return [
        Row(arm, "", 3, added_ns_per_exit=ns, counted_all=counted_all)
        for arm, ns in added.items()
    ]


def failed(checks):
    return [check.name for check in checks if not check.passed]


def test_all_checks_pass_below_their_bars():
    """Cheap, small, quick and quiet is what was promised."""
    assert failed(checks_of(rows(), DAEMON, BOOTS, emulated=False)) == []


@pytest.mark.parametrize("other", ["perf", "bpftrace"])
def test_costing_more_than_another_tool_fails(other):
    """Each of the two is a bar of its own."""
    assert (
        len(failed(checks_of(rows(**{other: 200.0}), DAEMON, BOOTS, emulated=False)))
        == 1
    )


def test_a_tool_that_was_left_out_is_no_bar_passed():
    """What was not measured was not shown."""
    assert len(failed(checks_of(rows(perf=None), DAEMON, BOOTS, emulated=False))) == 1


def test_arming_may_take_longer_where_the_cpu_is_emulated():
    """The bar is 0.3 s on a real CPU, 3 s on an emulated one."""
    slow = DaemonCost(2, 30.0, 2.0, 40.0, 44.0, 60, 2.0, 15.0, 3)

    assert failed(checks_of(rows(), slow, BOOTS, emulated=True)) == []
    assert failed(checks_of(rows(), slow, BOOTS, emulated=False)) == ["armed"]


def test_a_tool_that_missed_exits_fails_the_bench():
    """A comparison with a tool that did not look proves nothing."""
    missed = checks_of(rows(counted_all=False), DAEMON, BOOTS, emulated=False)

    assert failed(missed) == ["arms that missed exits"]


@pytest.mark.parametrize(
    ("size", "memory", "took", "name"),
    [
        (65_537, 16, 250.0, "net's image"),
        (40_000, 17, 250.0, "net's memory"),
        (40_000, 16, 651.0, "net is up sooner than Linux"),
    ],
)
def test_a_service_is_small_and_quick(size, memory, took, name):
    """64 KiB, 16 MiB, and twenty times sooner there than Linux."""
    boots = [Boot("net", size, memory, [took]), BOOTS[1]]

    assert failed(checks_of(rows(), DAEMON, boots, emulated=False)) == [name]
