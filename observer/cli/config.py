# SPDX-License-Identifier: Apache-2.0
"""`observer config show|check`: the policy in force."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show or check the policy."""


@config.command()
@click.option("--config", "path", type=click.Path(path_type=Path), help="Policy file.")
def show(path: Path | None) -> None:
    """Print the policy with every default, durations in ns."""
    from observer.config import load

    raw = msgspec.json.encode(load(path))
    click.echo(msgspec.json.format(raw, indent=2).decode())


@config.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
def check(path: Path | None) -> None:
    """Say whether a policy is sound; a fault names file and key."""
    from observer.config import DEFAULT_PATH, load
    from observer.escalate.masakari import check_installed

    policy = load(path)
    if policy.escalate.masakari is not None:
        check_installed()
    click.echo(f"{path or DEFAULT_PATH}: sound")
