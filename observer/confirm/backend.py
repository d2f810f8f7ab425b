# SPDX-License-Identifier: Apache-2.0
"""Second look at a back end that does not serve a kick.

`owes` comes from vhost's own index or the eventfd's count, the task's state
from /proc: neither from the program that raised the suspicion.
"""

from __future__ import annotations

import msgspec

from observer.clock import MS
from observer.model import Confirmed, Look, LookAgain, Refuted, VerdictKind

__all__ = [
    "LOOKS_APART_NS",
    "MAY_BE_AT_WORK",
    "BackEndLook",
    "blame_vmm",
    "halted_since",
    "judge_back_end",
    "judge_unkicked",
]

LOOKS_APART_NS = 5 * MS
BLOCKED_NS = 1000 * MS
UNCALLED_PATIENCE_NS = 1000 * MS
PROCESS_PATIENCE_NS = 1000 * MS
"""A process may wait for its storage before it reads a kick, or for one turn among many
threads of its own; a vhost worker's waiting is on the kernel's own clock.
"""
PATIENCE_NS = 3000 * MS
UNKICKED_PATIENCE_NS = 1000 * MS
MAY_BE_AT_WORK = "it took the kick, and may be at work on it"


class BackEndLook(msgspec.Struct, frozen=True):
    """A ring's server at one moment; `taken` is how far it has served."""

    taken: int
    state: str
    runtime_ns: int
    waited_ns: int

    @property
    def at_rest(self) -> bool:
        """It is stopped or gone: no second look will find it at work."""
        return self.state in "TtZX"


def _names(late_ns: int, ring: str, server: str) -> str:
    return f"{server} has not served {ring} for {late_ns / MS:.0f} ms"


def judge_back_end(  # noqa: C901, PLR0911, PLR0913 - a ladder of early returns
    *,
    owes: bool,
    first: BackEndLook,
    now: BackEndLook,
    limit_ns: int,
    starved_ns: int,
    late_ns: int,
    age_ns: int,
    since_ns: int,
    ring: str,
    server: str,
    in_kernel: bool,
    uncalled: bool,
) -> Look:
    """Compare two looks, `age_ns` apart, at a debt open for `late_ns`.

    `owes` says whether something is still offered that was not taken, `in_kernel`
    whether the server is a vhost worker.
    """
    if not owes or now.taken != first.taken:
        return Refuted("it serves the ring")
    if now.state in "ZX":
        return Refuted("it is gone: its exit is another matter")
    what = _names(late_ns, ring, server)
    if now.state in "Tt":
        return Confirmed(
            VerdictKind.BACKEND_HUNG, server, since_ns, f"{what}: it is stopped"
        )
    if uncalled:
        if age_ns > UNCALLED_PATIENCE_NS:
            return Refuted(MAY_BE_AT_WORK)
        return LookAgain(max(LOOKS_APART_NS, age_ns), "it took the kick")
    if age_ns < LOOKS_APART_NS:
        return LookAgain(LOOKS_APART_NS, "one look is not enough")
    ran = now.runtime_ns - first.runtime_ns
    if now.state == "D":
        if late_ns < BLOCKED_NS:
            return LookAgain(LOOKS_APART_NS * 2, "it is in uninterruptible sleep")
        return Confirmed(
            VerdictKind.BACKEND_BLOCKED,
            server,
            since_ns,
            f"{what}: it is in uninterruptible sleep, the host's storage is stuck",
        )
    if now.state == "R" and ran * 4 < age_ns:
        # runnable, yet not running: the host owes it a CPU
        if late_ns < (starved_ns if in_kernel else PROCESS_PATIENCE_NS):
            return LookAgain(LOOKS_APART_NS, "it waits for a CPU")
        return Confirmed(
            VerdictKind.BACKEND_STARVED,
            server,
            since_ns,
            f"{what}: it waits for a CPU and ran {ran / MS:.1f} of the last "
            f"{age_ns / MS:.0f} ms",
        )
    fair_ns = late_ns - (now.waited_ns - first.waited_ns)
    if fair_ns < limit_ns and age_ns < PATIENCE_NS:
        return LookAgain(LOOKS_APART_NS, "it had to wait for a CPU")
    if not in_kernel and fair_ns < PROCESS_PATIENCE_NS:
        return LookAgain(LOOKS_APART_NS * 4, "it may wait for its storage")
    return Confirmed(
        VerdictKind.BACKEND_HUNG, server, since_ns, f"{what}, in state {now.state}"
    )


def halted_since(*, since_ns: int, halt_ns: int, own_ns: int, asleep: bool) -> bool:
    """Say whether a vCPU was in HLT at `since_ns` or later, or is in one still.

    No kernel halts between offering an entry and kicking.
    """
    return halt_ns > since_ns or (asleep and halt_ns == own_ns)


def judge_unkicked(  # noqa: PLR0913 - all that it weighs is an argument
    *,
    owes: bool,
    kicked: bool,
    at_rest: bool,
    first: BackEndLook,
    now: BackEndLook,
    late_ns: int,
    age_ns: int,
    since_ns: int,
    ring: str,
    server: str,
) -> Look:
    """Compare two looks at entries that were offered and never kicked for.

    A vCPU that has lost its CPU may be about to kick: `at_rest` says that none can be.
    """
    if not owes or now.taken != first.taken:
        return Refuted("it serves the ring")
    if kicked:
        return Refuted("its guest has kicked since: that is another debt")
    if now.state in "ZX":
        return Refuted("it is gone: its exit is another matter")
    if not at_rest or age_ns < LOOKS_APART_NS:
        if age_ns > UNKICKED_PATIENCE_NS:
            return Refuted("a vCPU may be about to kick")
        return LookAgain(LOOKS_APART_NS, "a vCPU may be about to kick")
    return Confirmed(
        VerdictKind.BACKEND_HUNG,
        server,
        since_ns,
        f"{_names(late_ns, ring, server)}: no kick has reached it, "
        "though its guest has gone to rest",
    )


def blame_vmm(look: Confirmed, vm: str, *, stopped: bool) -> Confirmed:
    """Say a ring's server that is the VMM itself by the VM's name.

    One that gets no CPU, or waits for the host's storage, does not hang: to start it
    again would mend nothing.
    """
    if stopped:
        kind = VerdictKind.VMM_STOPPED
    elif look.kind is VerdictKind.BACKEND_HUNG:
        kind = VerdictKind.VMM_HUNG
    else:
        kind = look.kind
    return Confirmed(kind, vm, look.since_ns, look.evidence)
