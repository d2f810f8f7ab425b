# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS, SECOND
from observer.loops.global_loop import (
    GATHER_NS,
    LOOK_NS,
    SETTLE_NS,
    Choice,
    Key,
    Rates,
    choose,
)
from observer.loops.graph import RepairGraph
from observer.loops.ladder import LADDERS
from observer.loops.local_loop import (
    LocalLoop,
    State,
    acted,
    begin,
    confirmed,
    escalate,
    paid,
)
from observer.model import Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterable

USES = {"net": ("store",), "disk": ("store",), "web-*": ("net", "disk")}
CRASHED, HUNG, PART = (
    VerdictKind.VMM_CRASHED,
    VerdictKind.SERVICE_HUNG,
    VerdictKind.PART_HUNG,
)


def loop(vm: str, kind: VerdictKind = CRASHED, subject: str = "") -> LocalLoop:
    verdict = Verdict("", 0, vm, subject or vm, kind, 0, 0, "", "")
    return confirmed(verdict, LADDERS[kind], 0)


def turn(
    loops: Iterable[LocalLoop],
    now_ns: int = GATHER_NS,
    rates: Rates = Rates(),  # noqa: B008 - it is frozen
    begun: Iterable[tuple[int, str]] = (),
    healed_ns: dict[str, int] | None = None,
    *,
    suspected: tuple[str, ...] = (),
) -> Choice:
    keyed = {(x.verdict.vm, x.verdict.subject): x for x in loops}
    return choose(
        keyed,
        RepairGraph(USES),
        rates,
        begun=begun,
        healed_ns=healed_ns or {},
        suspected=suspected,
        now_ns=now_ns,
    )


def key(name: str) -> Key:
    return name, name


def test_what_is_used_comes_first() -> None:
    """All broken at once: the store, then net and disk together, then the guests."""
    loops = {name: loop(name) for name in ("web-1", "net", "disk", "store")}
    order = []
    while any(x.state is not State.HEALTHY for x in loops.values()):
        chosen = turn(loops.values())
        order.append({vm for vm, _ in chosen.begin})
        for vm, _ in chosen.begin:
            loops[vm] = paid(acted(begin(loops[vm], 1), 2), 3)

    assert order == [{"store"}, {"net", "disk"}, {"web-1"}]


def test_those_that_fail_together_are_told_one_after_the_other() -> None:
    """Who uses others waits a moment for their verdicts, and who does not begins."""
    chosen = turn([loop("net"), loop("other")], GATHER_NS - 1)

    assert chosen.begin == (key("other"),)
    assert chosen.again_ns == GATHER_NS
    assert set(turn([loop("net"), loop("other")]).begin) == {key("net"), key("other")}


def test_what_is_suspected_may_yet_be_found_broken() -> None:
    """Who uses it waits for that look, though not for ever; who does not begins."""
    broken = [loop("web-1"), loop("other")]
    chosen = turn(broken, suspected=("disk",))

    assert chosen.begin == (key("other"),)
    assert chosen.held == {key("web-1"): "it uses disk, which is suspected"}
    assert chosen.again_ns == 2 * GATHER_NS

    assert turn(broken, suspected=("web-2",)).begin == (key("web-1"), key("other"))
    late = turn(broken, LOOK_NS - 1, suspected=("disk",))
    assert late.again_ns == LOOK_NS
    over = turn(broken, LOOK_NS, suspected=("disk",))
    assert over.begin == (key("web-1"), key("other"))


def test_one_cause_is_one_repair() -> None:
    """Forty guests whose rings stall wait for the net that they use."""
    guests = [loop(f"web-{k}", VerdictKind.GUEST_HUNG) for k in range(40)]
    chosen = turn([*guests, loop("net")])

    assert chosen.begin == (key("net"),)
    assert set(chosen.held) == {key(f"web-{k}") for k in range(40)}
    assert chosen.held[key("web-0")] == "it uses net, which is confirmed"


def test_symptoms_may_go_by_themselves() -> None:
    """Once their cause is mended they get a moment; what stays is repaired then."""
    guest = loop("web-1", VerdictKind.GUEST_HUNG)
    back = {"net": 10 * MS}

    assert turn([guest], 11 * MS, healed_ns=back).begin == ()
    assert turn([guest], 10 * MS + SETTLE_NS, healed_ns=back).begin == (key("web-1"),)


def test_a_vm_has_one_repair_at_a_time() -> None:
    """The coarsest verdict explains the others."""
    part, whole = loop("net", PART, "net/nic"), loop("net", HUNG)
    assert turn([part, whole]).begin == (key("net"),)

    part = begin(part, 1)
    assert turn([part, whole]).begin == ()
    assert turn([acted(part, 2), whole]).begin == (key("net"),)


def test_what_was_given_up_holds_up_only_its_users() -> None:
    """A net that nobody can mend is no reason to leave the disk."""
    lost = escalate(loop("net"), "no memory", 0)
    chosen = turn([lost, loop("disk"), loop("web-1")])

    assert chosen.begin == (key("disk"),)
    assert chosen.held[key("web-1")].startswith("it uses ")


def test_flapping_is_given_up() -> None:
    """So many repairs in a window, of one VM or of all; old ones count no more."""
    rates = Rates(vm=2, host=3, window_ns=60 * SECOND)
    now = 100 * SECOND
    twice = [(now - 2, "net"), (now - 1, "net")]

    assert (
        "repaired 2 times" in turn([loop("net")], now, rates, twice).give_up[key("net")]
    )
    assert turn([loop("disk")], now, rates, twice).begin == (key("disk"),)
    thrice = [*twice, (now - 1, "web-1")]
    assert (
        "the host saw 3"
        in turn([loop("disk")], now, rates, thrice).give_up[key("disk")]
    )
    old = [(30 * SECOND, "net")] * 9
    assert turn([loop("net")], now, rates, old).begin == (key("net"),)


def test_a_repair_that_has_begun_is_brought_to_its_end() -> None:
    """Its next try is no new repair."""
    rates = Rates(vm=1, host=1, window_ns=60 * SECOND)
    tried = acted(begin(loop("net", PART, "net/nic"), 0), 1, "no", fits=False)

    chosen = turn([tried], 2, rates, [(0, "net")])

    assert chosen.begin == (("net", "net/nic"),)


NAMES = st.sampled_from(["store", "net", "disk", "web-1", "web-2", "other"])
STATES = st.sampled_from(State)


@given(st.dictionaries(NAMES, st.tuples(STATES, st.sampled_from(VerdictKind))))
def test_nothing_begins_above_what_is_broken(
    given_: dict[str, tuple[State, VerdictKind]],
) -> None:
    """And of all that could be mended something always is, unless all was given up."""
    loops = []
    for name, (state, kind) in given_.items():
        verdict = Verdict("", 0, name, name, kind, 0, 0, "", "")
        loops.append(LocalLoop(verdict, LADDERS[CRASHED], state, 10**12))
    chosen = turn(loops)
    broken = {x.verdict.vm: x for x in loops if x.state is not State.HEALTHY}
    graph = RepairGraph(USES)

    for vm, _ in chosen.begin:
        assert loops[[x.verdict.vm for x in loops].index(vm)].state is State.CONFIRMED
        assert not graph.uses(vm, broken)
    waiting = {x.verdict.vm for x in loops if x.state is State.CONFIRMED}
    assert {vm for vm, _ in (*chosen.begin, *chosen.held, *chosen.give_up)} == waiting
    free = {vm for vm in waiting if not graph.uses(vm, broken)}
    assert {vm for vm, _ in chosen.begin} == free
