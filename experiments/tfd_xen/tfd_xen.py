# SPDX-License-Identifier: Apache-2.0
"""TFD-Xen (Jo et al., IEEE TC 59(11), 2010), rebuilt: progress of counters, a standby.

From the paper's abstract: the progress of the driver domain's rings is monitored from
outside, and a standby driver domain is switched in; nothing is parked.

Its interval and count stand in no text that we could read.  What is published is that
Phoenix's authors measured 102.1 ms until it noticed (DSN 2020, table IV).  An interval
T and N of them without progress give (N + 1/2) T in the mean; T = 40 ms and N = 2, the
smallest count that one lost tick does not trip, give 100 ms: its best case that agrees.

A service's counters are those of its taps, what asks for service those of its
neighbours' ports in the same bridges.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from observer.clock import MS, SECOND
from observer.experiment.comparator import (
    ends_on_sigterm,
    say_armed,
    say_outcome,
    say_ready,
    say_recovered,
    say_verdict,
    say_watched,
)
from observer.experiment.hearing import services_up
from observer.experiment.unparked import switch_anew, unparked
from observer.model import VerdictKind
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.images import images_file, read_images

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from observer.model import Verdict
    from observer.services.images import Port

__all__ = ["Counters", "Progress", "next_due_ns", "watched"]

INTERVAL_NS, INTERVALS = 40 * MS, 2
LOOK_NS = SECOND
SERVICE = "net"
PRIORITY = 1  # the observer's
NET = Path("/sys/class/net")


class Counters(msgspec.Struct, frozen=True):
    """Frames that the driver domain passed on, and those that it was asked to."""

    served: int
    asked: int


class Progress(msgspec.Struct, frozen=True):
    """What was counted last, and for how many intervals nothing was served."""

    last: Counters
    since_ns: int
    """When there was progress last."""
    unchanged: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether the rule says so."""
        return self.unchanged >= INTERVALS


def watched(before: Progress, now: Counters, now_ns: int) -> Progress:
    """One more interval: without progress while there was a request, or well."""
    if now.served != before.last.served:
        return Progress(now, now_ns)
    # less than before: a link is gone with what it had counted
    asked = now.asked > before.last.asked
    return Progress(now, before.since_ns, before.unchanged + asked)


def next_due_ns(due_ns: int, now_ns: int) -> int:
    """When the turn after one is due: an interval later, whatever that one's work took.

    Of a turn that came so late that this has passed, an interval from now.
    """
    next_ns = due_ns + INTERVAL_NS
    return next_ns if next_ns > now_ns else now_ns + INTERVAL_NS


def _await_turn(due_ns: int) -> int:
    """Sleep until the turn after one is due; when that was."""
    next_ns = next_due_ns(due_ns, time.monotonic_ns())
    time.sleep(max(0, next_ns - time.monotonic_ns()) / SECOND)
    return next_ns


def _received(link: str) -> int:
    """Frames that came in by a link of the host's: a tap's from its VM."""
    with suppress(OSError):  # also of a link that goes away while it is read
        return int((NET / link / "statistics/rx_packets").read_text())
    return 0


def _ports_of(bridge: str) -> list[str]:
    """Links that are in a bridge; none of one that is being taken down."""
    with suppress(FileNotFoundError):
        return [link.name for link in (NET / bridge / "brif").iterdir()]
    return []


def _counters(taps: Collection[str], bridges: Iterable[str]) -> Counters:
    links = {link for bridge in bridges for link in _ports_of(bridge)}
    return Counters(sum(map(_received, taps)), sum(map(_received, links - set(taps))))


def _say_failed(progress: Progress) -> Verdict:
    return say_verdict(
        SERVICE,
        VerdictKind.SERVICE_HUNG,
        progress.since_ns,
        f"{SERVICE} was asked for service and gave none in {INTERVALS} "
        f"intervals of {INTERVAL_NS / MS:g} ms",
        "switch to the standby",
    )


def _watch(ports: Sequence[Port]) -> Verdict:
    """Until the service has failed, by the rule; what was said then."""
    taps = [port.tap for port in ports]
    bridges = [port.bridge for port in ports]
    due_ns = time.monotonic_ns()
    progress = Progress(_counters(taps, bridges), due_ns)
    say_ready()
    while not progress.has_failed:
        due_ns = _await_turn(due_ns)
        now = _counters(taps, bridges)
        progress = watched(progress, now, time.monotonic_ns())
    return _say_failed(progress)


def _only_watch(ports: Sequence[Port]) -> NoReturn:
    """Each life of the service, that somebody else keeps, from its first frame on."""
    taps = [port.tap for port in ports]
    bridges = [port.bridge for port in ports]
    pid, looked_ns, has_served = 0, 0, False
    progress, folder = Progress(Counters(0, 0), 0), ServiceFolder(RUNTIME / SERVICE)
    due_ns = time.monotonic_ns()
    while True:
        now_ns = time.monotonic_ns()
        if now_ns - looked_ns >= LOOK_NS:
            looked_ns, known = now_ns, pid
            pid = services_up().get(SERVICE, pid)
            if pid != known:
                say_watched(SERVICE, pid)
                progress, has_served = Progress(_counters(taps, bridges), now_ns), False
        had_failed, before = progress.has_failed, progress
        progress = watched(progress, _counters(taps, bridges), now_ns)
        has_served |= progress.last.served > before.last.served
        is_due = progress.has_failed and not had_failed
        if not has_served or (is_due and folder.has_ended(pid)):
            progress = msgspec.structs.replace(progress, unchanged=0)
        if progress.has_failed and not had_failed:
            _say_failed(progress)
        elif had_failed and not progress.has_failed:
            say_recovered(SERVICE)
        due_ns = _await_turn(due_ns)


@click.command()
@click.argument("services", nargs=-1)
@click.option("--only-watch", is_flag=True, help="Somebody else keeps the service.")
def main(services: Sequence[str], *, only_watch: bool) -> None:
    """Watch until the one that serves has failed, switch, and watch the other one."""
    began = time.monotonic()
    del services  # it is known which
    ends_on_sigterm()
    ports = read_images(images_file())[SERVICE].ports
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    if only_watch:
        say_armed(time.monotonic() - began)
        _only_watch(ports)
    with unparked(SERVICE, spare=True) as vm:
        while True:
            verdict = _watch(ports)
            switch_anew(vm)
            began_ns = verdict.monotonic_ns
            say_outcome(SERVICE, verdict.kind, None, began_ns=began_ns, why="switched")
            vm.stand_by()
            vm.await_spare()


if __name__ == "__main__":
    main()
