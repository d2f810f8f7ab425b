# SPDX-License-Identifier: Apache-2.0
"""From what was said and what the receivers saw to a row; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.experiment.arrivals import Arrival, account, outage, total
from observer.experiment.rows import Row
from observer.model import Outcome, Result, Verdict

if TYPE_CHECKING:
    from observer.experiment.arrivals import Account, Gap
    from observer.experiment.faults import Fault

__all__ = ["Stream", "Witness", "row_of"]


class Stream(msgspec.Struct, frozen=True):
    """What a receiver saw in a run of numbers that were sent once each."""

    arrivals: Sequence[Arrival]
    first: int
    last: int

    @property
    def account(self) -> Account:
        """How many came, and how."""
        return account(self.arrivals, self.first, self.last)


class Witness(msgspec.Struct, frozen=True):
    """All that was seen of one fault."""

    round: int
    moment_ns: int
    mended_ns: int
    """When all was said to be mended, or had been cleared away."""
    verdicts: list[Verdict]
    outcomes: list[Outcome]
    datagrams: tuple[Stream, ...] = ()
    """Those whose way leads through a service that was broken."""
    blocks: Sequence[Arrival] = ()
    """Of the guest's writer, where its disk is on a service."""
    flows: bool = False
    """Whether all streams went on at last."""
    salvaged: int | None = None
    tcp_survived: bool | None = None
    io_errors: int | None = None
    verify_errors: int | None = None
    two_writers: int | None = None
    notes: tuple[str, ...] = ()


def _ms(ns: int | None) -> float | None:
    return None if ns is None else round(ns / MS, 3)


def _gaps(witness: Witness) -> list[Gap | None]:
    streams = [stream.arrivals for stream in witness.datagrams]
    streams += [witness.blocks] if witness.blocks else []
    return [
        outage(arrivals, witness.moment_ns, witness.mended_ns) for arrivals in streams
    ]


def _said(said: Sequence[Verdict], fault: Fault) -> dict[str, Verdict]:
    """The first verdict on each service that was broken."""
    first: dict[str, Verdict] = {}
    for verdict in said:
        if verdict.vm in fault.services:
            first.setdefault(verdict.vm, verdict)
    return first


def _told(outcome: Outcome, moment_ns: int) -> str:
    after_ms = (outcome.monotonic_ns - moment_ns) / MS
    by = f" by {outcome.step}" if outcome.step else ""
    what = f"{outcome.subject}: {outcome.kind} {outcome.result}"
    return f"{what}{by} after {after_ms:.1f} ms"


def row_of(
    experiment: str, design: str, fault: Fault, seen: Witness, *, coarse: bool
) -> Row:
    """Judge a run; a `coarse` design says no more than that a service failed."""
    first = _said(seen.verdicts, fault)
    latest = max(first.values(), key=lambda v: v.monotonic_ns, default=None)
    right = all(
        service in first and (coarse or first[service].kind is fault.kind)
        for service in fault.services
    )
    mended = {o.vm: o for o in seen.outcomes if o.result is Result.REPAIRED}
    paid = [mended[s].monotonic_ns for s in fault.services if s in mended]
    gaps = _gaps(seen)
    whole = [gap for gap in gaps if gap is not None]
    went_on_ns = max((gap.until_ns for gap in whole), default=None)
    well = seen.flows and len(whole) == len(gaps)
    sums = total(stream.account for stream in seen.datagrams)
    has_packets = bool(seen.datagrams)
    return Row(
        experiment=experiment,
        round=seen.round,
        design=design,
        fault=fault.name,
        subject=latest.subject if latest else "+".join(fault.services),
        verdict=latest.kind if latest else None,
        detected=right,
        detection_ms=_ms(latest.monotonic_ns - seen.moment_ns if latest else None),
        repaired=well and len(paid) == len(fault.services),
        recovery_ms=_ms(went_on_ns - seen.moment_ns if well and went_on_ns else None),
        paid_ms=_ms(
            max(paid) - seen.moment_ns if len(paid) == len(fault.services) else None
        ),
        lost_packets=sums.lost if has_packets else None,
        sent_packets=sums.sent if has_packets else None,
        duplicated_packets=sums.duplicated if has_packets else None,
        reordered_packets=sums.reordered if has_packets else None,
        salvaged=seen.salvaged,
        longest_gap_ms=_ms(max((gap.ns for gap in whole), default=None)),
        tcp_survived=seen.tcp_survived,
        io_errors=seen.io_errors,
        verify_errors=seen.verify_errors,
        two_writers=seen.two_writers,
        evidence="; ".join(
            [
                *(v.evidence for v in first.values()),
                *(_told(o, seen.moment_ns) for o in seen.outcomes),
                *seen.notes,
            ]
        ),
    )
