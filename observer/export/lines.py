# SPDX-License-Identifier: Apache-2.0
"""A verdict as a line: for a terminal, or as JSON for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS

if TYPE_CHECKING:
    from observer.model import Verdict

__all__ = ["json_line", "table_header", "table_line"]

_FORMAT = "{:<12}  {:<14}  {:<16}  {:<15}  {:>9}  {}"


def json_line(verdict: Verdict) -> str:
    """Encode a verdict as one line of JSON."""
    return msgspec.json.encode(verdict).decode()


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
