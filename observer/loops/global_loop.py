# SPDX-License-Identifier: Apache-2.0
"""The global loop: whose turn it is, given who uses whom and what is broken.

Pure: from all local loops to those that may take their next step, those that wait and
why, and those that were mended too often.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS, SECOND
from observer.loops.local_loop import LocalLoop, State
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from observer.loops.graph import RepairGraph

__all__ = ["SETTLE_NS", "Choice", "Key", "Rates", "choose"]

SETTLE_NS = 500 * MS
"""A symptom may go by itself once its cause is mended: guests look alive again."""

GATHER_NS = 20 * MS
"""Who uses others waits so long for their suspicions: those that fail together are told
one after the other."""

LOOK_NS = 1000 * MS
"""And at most so long for what is suspected to be looked at: one that dies with much
memory to give back is gone last."""

COARSEST = (
    VerdictKind.VMM_CRASHED,
    VerdictKind.VMM_STOPPED,
    VerdictKind.VMM_HUNG,
    VerdictKind.SERVICE_CRASHED,
    VerdictKind.SERVICE_HUNG,
    VerdictKind.BACKEND_CRASHED,
    VerdictKind.BACKEND_HUNG,
    VerdictKind.BACKEND_BLOCKED,
    VerdictKind.BACKEND_STARVED,
    VerdictKind.PART_HUNG,
    VerdictKind.GUEST_HUNG,
    VerdictKind.VCPU_HUNG,
)
"""Of several verdicts on a VM, the first in this order explains those behind it."""


Key = tuple[str, str]
"""A VM and the subject in it, both by name."""


class Rates(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"window_ns": "window"},
):
    """How many repairs may be begun in a window, before it is flapping."""

    vm: int = 5
    host: int = 40
    window_ns: int = 600 * SECOND


class Choice(msgspec.Struct, frozen=True):
    """Who may begin; who waits, and who is to be given up, with the reason."""

    begin: tuple[Key, ...]
    held: dict[Key, str]
    give_up: dict[Key, str]
    again_ns: int | None
    """When time alone may end a wait; None: only an event can."""


def _rank(loop: LocalLoop) -> tuple[bool, bool, int]:
    """What is at work goes before what is coarser, and what was given up comes last."""
    return (
        loop.state is State.ESCALATED,
        loop.state is not State.REPAIRING,
        COARSEST.index(loop.verdict.kind),
    )


def _broken(loops: Iterable[LocalLoop]) -> dict[str, LocalLoop]:
    """Of each VM that is not healthy, the loop that explains its others."""
    found: dict[str, LocalLoop] = {}
    for loop in loops:
        if loop.state is not State.HEALTHY:
            other = found.setdefault(loop.verdict.vm, loop)
            found[loop.verdict.vm] = min(other, loop, key=_rank)
    return found


def _gathers(
    loop: LocalLoop, graph: RepairGraph, suspected: Collection[str], now_ns: int
) -> tuple[str, int] | None:
    """Why it waits for the verdicts of others, and until when; None if it need not."""
    vm, since_ns = loop.verdict.vm, loop.verdict.monotonic_ns
    if loop.has_begun or not graph.is_user(vm):
        return None
    if now_ns < since_ns + GATHER_NS:
        return "what it uses may have failed with it", since_ns + GATHER_NS
    looked_at = graph.uses(vm, suspected)
    if looked_at and now_ns < since_ns + LOOK_NS:
        why = f"it uses {min(looked_at)}, which is suspected"
        return why, min(now_ns + GATHER_NS, since_ns + LOOK_NS)
    return None


def _held(  # noqa: PLR0913 - all that may hold it is an argument
    loop: LocalLoop,
    broken: Mapping[str, LocalLoop],
    graph: RepairGraph,
    healed_ns: Mapping[str, int],
    *,
    suspected: Collection[str],
    now_ns: int,
) -> tuple[str, int | None] | None:
    """Why it must wait, and until when if that is known; None if it need not."""
    vm = loop.verdict.vm
    if causes := graph.uses(vm, broken):
        cause = min(causes)
        return f"it uses {cause}, which is {broken[cause].state}", None
    if broken[vm] is not loop:
        other = broken[vm].verdict
        return f"{other.subject} is {other.kind}", None
    back_ns = max((healed_ns[n] for n in graph.uses(vm, healed_ns)), default=0)
    if loop.verdict.monotonic_ns < back_ns and now_ns < back_ns + SETTLE_NS:
        return "what it uses has just come back", back_ns + SETTLE_NS
    return _gathers(loop, graph, suspected, now_ns)


def _flaps(vm: str, lately: Counter[str], rates: Rates, new: int) -> str | None:
    """Why one more repair would be one too many."""
    minutes = f"{rates.window_ns / (60 * SECOND):g} minutes"
    if lately[vm] >= rates.vm:
        return f"it was repaired {rates.vm} times within {minutes}"
    if lately.total() + new >= rates.host:
        return f"the host saw {rates.host} repairs within {minutes}"
    return None


def choose(  # noqa: PLR0913 - all that it weighs is an argument
    loops: Mapping[Key, LocalLoop],
    graph: RepairGraph,
    rates: Rates,
    *,
    begun: Iterable[tuple[int, str]],
    healed_ns: Mapping[str, int],
    suspected: Collection[str] = (),
    now_ns: int,
) -> Choice:
    """Whose turn it is; `begun` is when a repair of which VM was begun.

    `suspected` are the VMs that are being looked at.  Those with no broken dependency
    go side by side, one for each VM.
    """
    broken = _broken(loops.values())
    lately = Counter(vm for when, vm in begun if when > now_ns - rates.window_ns)
    begin: list[Key] = []
    held: dict[Key, str] = {}
    give_up: dict[Key, str] = {}
    again: list[int] = []
    new = 0
    for key, loop in loops.items():
        if loop.state is not State.CONFIRMED:
            continue
        wait = _held(loop, broken, graph, healed_ns, suspected=suspected, now_ns=now_ns)
        if wait is not None:
            held[key], until_ns = wait
            again += [] if until_ns is None else [until_ns]
        elif not loop.has_begun and (
            why := _flaps(loop.verdict.vm, lately, rates, new)
        ):
            give_up[key] = why
        else:
            begin.append(key)
            new += not loop.has_begun
    return Choice(tuple(begin), held, give_up, min(again, default=None))
