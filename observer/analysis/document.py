# SPDX-License-Identifier: Apache-2.0
"""Sections, tables and figures in words: what Markdown and HTML are both made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observer.analysis.statistics import Interval

__all__ = ["DASH", "Document", "Section", "Table", "figure", "p_value", "spread"]

DASH = "–"  # noqa: RUF001 - not a minus, which a figure may have
DIGITS = 3


@dataclass(frozen=True)
class Table:
    """Rows of words under their columns; a sentence above, sentences below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A question and its answer; `plot` names a picture of it, for those who can."""

    title: str
    lead: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plot: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """All of it."""

    title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]


def figure(value: float | None) -> str:
    """Three digits that count; a dash for what is not known."""
    if value is None or not isfinite(value):
        return DASH
    if value == 0:
        return "0"
    places = DIGITS - 1 - int(log10(abs(value)) // 1)
    if places <= 0:
        return f"{value:,.0f}"
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text and places > DIGITS else text


def spread(interval: Interval) -> str:
    """A figure with its interval: `12.3 [11.0, 14.1]`; without where all are equal."""
    if interval.runs == 0:
        return DASH
    if interval.runs == 1 or interval.low == interval.high:
        return figure(interval.middle)
    return (
        f"{figure(interval.middle)} [{figure(interval.low)}, {figure(interval.high)}]"
    )


def p_value(p: float) -> str:
    """To the thousandth."""
    if not isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - as it is printed
