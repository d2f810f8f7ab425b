# SPDX-License-Identifier: Apache-2.0
"""The option `-o table|json|jsonl`, and tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Output", "output_option", "print_table"]

Output = Literal["table", "json", "jsonl"]

UNBOUNDED_COLUMNS = 100_000

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "jsonl"]),
    default="table",
    show_default=True,
    help="A table to read, one JSON document, or one JSON object per line.",
)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns: as wide as the terminal, unwrapped when piped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # Text, since a cell may hold what rich would take for markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        unbounded = console.options.update_width(UNBOUNDED_COLUMNS)
        console.width = console.measure(table, options=unbounded).maximum
    console.print(table)
