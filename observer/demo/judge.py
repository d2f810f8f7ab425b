# SPDX-License-Identifier: Apache-2.0
"""Turn what the observer said into a row: right verdict, right subject, in time."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING

from observer.clock import MS
from observer.demo.report import Row

if TYPE_CHECKING:
    from observer.demo.cases import FaultCase, SilentCase
    from observer.model import Verdict

__all__ = ["fault_row", "silent_row"]


def fault_row(
    case: FaultCase, vm: str, effect_ns: int, said: list[Verdict], design: str
) -> Row:
    """Judge a fault by the first verdict since its effect."""
    subject = case.subject.format(vm=vm)
    first = said[0] if said else None
    late_ms = (first.monotonic_ns - effect_ns) / MS if first else None
    right = (
        first is not None
        and first.vm == vm
        and first.kind == case.kind
        and fnmatch(first.subject, subject)
    )
    return Row(
        design=design,
        fault=case.fault,
        subject=f"{vm}/{first.subject if first else subject}",
        verdict=first.kind if first else None,
        detected=right,
        detection_ms=None if late_ms is None else round(late_ms, 3),
        repaired=False,
        recovery_ms=None,
        lost_packets=None,
        evidence=first.evidence if first else "nothing was said",
        passed=right and late_ms is not None and late_ms <= case.within_ms,
        expected=case.kind,
        within_ms=case.within_ms,
    )


def silent_row(case: SilentCase, vm: str, said: list[Verdict], design: str) -> Row:
    """Judge a silent case: any verdict at all is wrong."""
    first = said[0] if said else None
    return Row(
        design=design,
        fault=case.name,
        subject=f"{vm}/{first.subject}" if first else vm,
        verdict=first.kind if first else None,
        detected=first is not None,
        detection_ms=None,
        repaired=False,
        recovery_ms=None,
        lost_packets=None,
        evidence=first.evidence if first else "",
        passed=first is None,
        expected="no verdict",
        within_ms=None,
    )
