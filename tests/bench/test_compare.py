# SPDX-License-Identifier: Apache-2.0
import statistics

import pytest

from observer.bench.compare import Sample, interleaved, lowest_tenth, rows_of, saw_all
from observer.bench.tool import Arm, no_tool

ARMS = [
    Arm("none", "no tool", no_tool),
    Arm("tool", "looks", no_tool),
    Arm("other", "cannot", no_tool, left_out="it is not here"),
]
BASE_NS = [1_000_000, 900_000, 1_300_000]
TOOL_NS = [1_500_000, 1_600_000, 1_200_000]


def sample(arm, ns, counted=None, exits=1000):
    return Sample(arm, 0, exits, [ns], counted)


def test_every_second_round_runs_backwards():
    """Each arm runs once a round, and what was first is last in the next."""
    order = list(interleaved(["a", "b", "c"], 3))

    assert [name for _, name in order] == list("abccbaabc")
    assert [turn for turn, _ in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_rows_compare_what_nobody_disturbed():
    """Ratio and added cost are those of each arm's lowest tenth, over all its runs."""
    samples = [sample("none", ns) for ns in BASE_NS]
    samples += [sample("tool", ns, counted=1000) for ns in TOOL_NS]

    base, row, _ = rows_of(ARMS, samples)

    none, tool = min(BASE_NS), min(TOOL_NS)
    assert base.ratio == 1.0
    assert base.added_ns_per_exit == 0
    assert row.ratio == pytest.approx(tool / none, abs=0.001)
    assert row.added_ns_per_exit == pytest.approx((tool - none) / 1000)
    assert row.median_ns_per_exit == statistics.median(TOOL_NS) / 1000
    assert row.counted_all is True


def test_batches_of_all_runs_count_alike():
    """A tenth of forty values is the fourth lowest, wherever they were measured."""
    low, high = list(range(1000, 21_000, 1000)), list(range(21_000, 41_000, 1000))
    runs = [Sample("none", k, 20, ns, None) for k, ns in enumerate((high, low))]

    assert rows_of(ARMS[:1], runs)[0].ns_per_exit == 4000
    assert lowest_tenth([7.0]) == 7.0


def test_an_arm_that_cannot_run_says_why():
    """A left-out arm has no figure, only the reason."""
    row = rows_of(ARMS, [sample("none", 1000)])[2]

    assert row.left_out == "it is not here"
    assert row.ratio is None


@pytest.mark.parametrize(
    ("counted", "expected"),
    [(None, None), (999, False), (1000, True), (1100, True), (2000, False)],
)
def test_a_tool_must_have_seen_the_exits(counted, expected):
    """Fewer than were made, or twice as many, is no observation of this guest."""
    assert saw_all(sample("tool", 1, counted)) is expected


def test_one_run_that_missed_exits_spoils_the_row():
    """An arm saw all only if each of its runs did."""
    samples = [sample("none", 1), sample("tool", 1, 1000), sample("tool", 1, 10)]

    assert rows_of(ARMS, samples)[1].counted_all is False
