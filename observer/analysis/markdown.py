# SPDX-License-Identifier: Apache-2.0
"""A document as Markdown: `experiments/RESULTS.md`, generated and never typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from observer.analysis.document import Document, Section, Table

__all__ = ["markdown", "write_text"]

GENERATED = (
    "<!-- Generated from the runs by `observer experiment report`: do not edit. -->"
)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(table: Table) -> Iterator[str]:
    yield f"**{table.title}**"
    yield ""
    yield _row(table.columns)
    yield "|" + "---|" * len(table.columns)
    yield from (_row(row) for row in table.rows)
    yield ""
    if table.notes:
        yield from table.notes
        yield ""


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    if section.lead:
        yield from section.lead
        yield ""
    for table in section.tables:
        yield from _table(table)
    if section.notes:
        yield from (f"- {note}" for note in section.notes)
        yield ""


def markdown(document: Document) -> str:
    """The whole text."""
    lines = [GENERATED, "", f"# {document.title}", "", *document.lead, ""]
    for section in document.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def write_text(path: Path, text: str) -> None:
    """Write it whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as e:
        raise HostError(
            f"{path} cannot be written ({e.strerror}): make room, or name another."
        ) from e
