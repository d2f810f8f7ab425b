# SPDX-License-Identifier: Apache-2.0
"""`observer run`: the daemon."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

__all__ = ["run"]


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Policy in TOML.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "jsonl"]),
    help="Default: a table on a terminal, JSON lines elsewhere.",
)
@click.option(
    "--loader",
    type=click.Choice(["libbpf", "bcc"]),
    default="libbpf",
    show_default=True,
    help="libbpf: built objects, kernel timers. bcc: compiled now, cells scanned.",
)
@click.option("-v", "--verbose", is_flag=True, help="Tell what was refuted, and why.")
def run(config: Path | None, output: str | None, loader: str, verbose: bool) -> None:
    """Watch every VM of this host until Ctrl-C or SIGTERM."""
    from observer.config import load
    from observer.daemon import Daemon
    from observer.export.lines import (
        json_line,
        outcome_line,
        table_header,
        table_line,
    )

    table = (output or ("table" if sys.stdout.isatty() else "jsonl")) == "table"
    line = table_line if table else json_line
    end_line = outcome_line if table else json_line

    def tell(kind: str, text: str) -> None:
        if verbose or kind != "refuted":
            click.echo(f"{kind}: {text}", err=True)

    daemon = Daemon(
        load(config),
        lambda verdict: click.echo(line(verdict)),
        lambda outcome: click.echo(end_line(outcome)),
        tell,
        loader,
    )
    if table:
        click.echo(table_header())
    asyncio.run(daemon.run())
