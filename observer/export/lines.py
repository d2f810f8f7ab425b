# SPDX-License-Identifier: Apache-2.0
"""A verdict, or what came of it, as a line: for a terminal, or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS

if TYPE_CHECKING:
    from observer.model import Outcome, Verdict

__all__ = ["json_line", "outcome_line", "table_header", "table_line"]

_FORMAT = "{:<12}  {:<14}  {:<16}  {:<15}  {:>9}  {}"


def json_line(event: Verdict | Outcome) -> str:
    """Encode an event as one line of JSON; an outcome is the one with a `result`."""
    return msgspec.json.encode(event).decode()


def table_header() -> str:
    """Head the columns of `table_line`."""
    return _FORMAT.format("TIME", "VM", "SUBJECT", "VERDICT", "LATE BY", "EVIDENCE")


def table_line(verdict: Verdict) -> str:
    """Format a verdict for a terminal, with the repair that it would get."""
    return _FORMAT.format(
        verdict.time[11:23],
        verdict.vm,
        verdict.subject,
        verdict.kind,
        f"{verdict.late_by_ns / MS:.1f} ms",
        f"{verdict.evidence}; {verdict.action}",
    )


def outcome_line(outcome: Outcome) -> str:
    """Format an outcome for a terminal, under the verdict that it came of."""
    step = f" by {outcome.step}" if outcome.step else ""
    return _FORMAT.format(
        outcome.time[11:23],
        outcome.vm,
        outcome.subject,
        outcome.kind,
        f"{outcome.took_ns / MS:.1f} ms",
        f"{outcome.result}{step}" + (f": {outcome.why}" if outcome.why else ""),
    )
