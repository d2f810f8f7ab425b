# SPDX-License-Identifier: Apache-2.0
"""`observer inhibit|resume`: planned work on a VM."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["inhibit", "resume"]


def _ask(config: Path | None, **request: object) -> object:
    from observer.config import load
    from observer.export.client import ask

    return ask(Path(load(config).paths.runtime) / "socket", **request)


@click.command()
@click.argument("vm")
@click.option("--for", "duration", default="10m", show_default=True, help="How long.")
@click.option("--config", type=click.Path(path_type=Path), help="Policy in TOML.")
def inhibit(vm: str, duration: str, config: Path | None) -> None:
    """Give no verdict about VM for a while."""
    from observer.config import duration_ns

    try:
        for_ns = duration_ns(duration)
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="--for") from e
    _ask(config, do="inhibit", vm=vm, for_ns=for_ns)
    click.echo(f"{vm}: no verdicts for {duration}")


@click.command()
@click.argument("vm")
@click.option("--config", type=click.Path(path_type=Path), help="Policy in TOML.")
def resume(vm: str, config: Path | None) -> None:
    """Judge VM again."""
    was = _ask(config, do="resume", vm=vm)
    click.echo(f"{vm}: judged again" if was else f"{vm}: was not inhibited")
