# SPDX-License-Identifier: Apache-2.0
"""A figure as bytes: SVG for a page, PNG for a notebook and for eyes alone."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Shown", "png", "svg"]

SALT = "observer"  # else each page would have other ids for the same picture
DPI = 110


def _rendered(made: Figure, kind: str) -> bytes:
    import matplotlib as mpl

    buffer = BytesIO()
    words: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": SALT}
    metadata = {"Date": None} if kind == "svg" else None
    with mpl.rc_context(words):
        made.savefig(buffer, format=kind, metadata=metadata, dpi=DPI)
    return buffer.getvalue()


def svg(made: Figure) -> bytes:
    """The same bytes for the same data."""
    return _rendered(made, "svg")


def png(made: Figure) -> bytes:
    """For those who show no SVG."""
    return _rendered(made, "png")


@dataclass(frozen=True)
class Shown:
    """Shows a figure as the result of a notebook's cell, whatever the back end."""

    figure: Figure

    def _repr_png_(self) -> bytes:
        return png(self.figure)
