# SPDX-License-Identifier: Apache-2.0
"""`observer repair`: by hand what the policy would do, or only say it."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["repair"]


@click.command()
@click.argument("vm")
@click.option("--dry-run", is_flag=True, help="Say what would be done, do nothing.")
@click.option("--config", type=click.Path(path_type=Path), help="Policy in TOML.")
def repair(vm: str, dry_run: bool, config: Path | None) -> None:
    """Begin the repair of what VM has open verdicts on, whoever the policy cares for.

    What comes of it is told by `observer events --follow`.
    """
    from observer.config import load
    from observer.export.client import ask

    socket = Path(load(config).paths.runtime) / "socket"
    for plan in ask(socket, do="repair", vm=vm, dry_run=dry_run):
        click.echo(f"{'would' if dry_run else 'begun'}: {plan}")
