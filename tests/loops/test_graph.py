# SPDX-License-Identifier: Apache-2.0
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from observer.loops.graph import RepairGraph, find_cycle

PHOENIX = {
    "net": ("store",),
    "disk": ("store",),
    "tool": ("store", "net", "disk"),
    "web-*": ("net", "disk", "store"),
}
NAMES = st.sampled_from("abcdef")
GRAPHS = st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=6)


def test_what_is_used_is_found_at_any_distance() -> None:
    """Of the names that are asked about, whether or not those between are there."""
    graph = RepairGraph({"web-*": ("net",), "net": ("store",)})

    assert graph.uses("web-7", {"store", "web-8", "disk"}) == {"store"}
    assert graph.uses("web-7", {"store", "net"}) == {"store", "net"}
    assert graph.uses("store", {"web-7", "net"}) == set()


def test_a_guest_uses_what_its_pattern_says() -> None:
    """And nobody uses it."""
    graph = RepairGraph(PHOENIX)

    assert graph.uses("web-1", {"net", "tool", "web-1"}) == {"net"}
    assert graph.uses("db-1", {"net", "disk", "store"}) == set()


@given(GRAPHS)
def test_a_cycle_is_found_where_there_is_one(uses: dict[str, tuple[str, ...]]) -> None:
    """As the standard library's sorter finds it."""
    try:
        TopologicalSorter(uses).prepare()
        cyclic = False
    except CycleError:
        cyclic = True
    found = find_cycle(uses)

    assert (found is not None) == cyclic
    if found is not None:
        assert found[0] == found[-1]
        assert all(b in uses[a] for a, b in pairwise(found))


def test_a_pattern_can_close_a_cycle() -> None:
    """`net-2` is one of `net-*`, whoever that was meant to be."""
    assert find_cycle({"net-*": ("store",), "store": ("net-2",)}) is not None
    assert find_cycle(PHOENIX) is None
