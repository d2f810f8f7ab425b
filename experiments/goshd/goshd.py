# SPDX-License-Identifier: Apache-2.0
"""HyperTap's hang rule on a stock host: a vCPU without activity; see README.md."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.clock import SECOND
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_recovered,
    say_verdict,
)
from observer.experiment.roster import Roster
from observer.model import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Activity", "Counts", "watched"]

DEBUGFS = Path("/sys/kernel/debug/kvm")
LIMIT_NS = 4 * SECOND
LOOK_SECONDS = 0.1


class Counts(msgspec.Struct, frozen=True):
    """Of one vCPU: the exits of its own making, and whether it halts just now."""

    own: int
    halts: bool


class Activity(msgspec.Struct, frozen=True):
    """When a vCPU was last active."""

    last: Counts
    since_ns: int
    said: bool = False


def watched(before: Activity, now: Counts, now_ns: int) -> tuple[Activity, bool]:
    """One more look; whether it is to be said now that the vCPU hangs."""
    if now.halts or now.own != before.last.own:
        return Activity(now, now_ns), False
    is_due = now_ns - before.since_ns >= LIMIT_NS and not before.said
    return Activity(now, before.since_ns, before.said or is_due), is_due


def _number(path: Path) -> int:
    return int(path.read_text())


def _counts(vcpu: Path) -> Counts:
    """`irq_exits` are the host's: its own interrupts took the CPU."""
    own = _number(vcpu / "exits") - _number(vcpu / "irq_exits")
    return Counts(own, bool(_number(vcpu / "blocking")))


def _vcpus(pid: int) -> Iterator[Path]:
    for vm in DEBUGFS.glob(f"{pid}-*"):
        yield from sorted(vm.glob("vcpu*"))


def main() -> None:
    """Watch all vCPUs of all guests until SIGTERM."""
    began = time.monotonic()
    ends_on_sigterm()
    roster, known = Roster(), dict[Path, Activity]()
    say_armed(time.monotonic() - began)
    while True:
        for pid, guest in roster.lives().items():
            for vcpu in _vcpus(pid):
                try:
                    now = _counts(vcpu)
                except OSError:
                    continue  # the VM has just ended
                now_ns = time.monotonic_ns()
                before = known.get(vcpu, Activity(now, now_ns))
                known[vcpu], is_due = watched(before, now, now_ns)
                if is_due:
                    say_verdict(
                        guest.name,
                        VerdictKind.VCPU_HUNG,
                        before.since_ns,
                        f"no activity for {LIMIT_NS / SECOND:g} s",
                        subject=vcpu.name,
                    )
                elif before.said and not known[vcpu].said:
                    say_recovered(guest.name)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
