# SPDX-License-Identifier: Apache-2.0
"""`observer status|top|events|check`: what the daemon sees, for people and monitors."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from observer.cli.output import Output, output_option, print_table
from observer.clock import SECOND

__all__ = ["check", "events", "status", "top"]

COLUMNS = ("VM", "PID", "STATE", "VCPUS", "RINGS", "LAST SIGN", "BACK ENDS")
# As OCF resource agents have them, so that Pacemaker and Nagios can call `check`.
CHECK_RUNNING, CHECK_FAILED, CHECK_NOT_RUNNING = 0, 1, 7
FAILED_SUFFIXES = ("-crashed", "-hung", "-stopped", "-starved", "-blocked")

config_option = click.option(
    "--config", type=click.Path(path_type=Path), help="Policy in TOML."
)


def _socket(config: Path | None) -> Path:
    from observer.config import load

    return Path(load(config).paths.runtime) / "socket"


def _ask_status(config: Path | None) -> dict[str, Any]:
    from observer.export.client import ask

    found: dict[str, Any] = ask(_socket(config), do="status")
    return found


def _row(vm: dict[str, Any]) -> list[str]:
    return [
        f"{vm['name']} (spare)" if vm["spare"] else vm["name"],
        str(vm["pid"]),
        vm["state"] + (" (inhibited)" if vm["inhibited_ns"] else ""),
        str(vm["vcpus"]),
        str(vm["rings"]),
        f"{vm['sign_age_ns'] / SECOND:.1f} s ago",
        ", ".join(f"{b['name']} ({b['pid']})" for b in vm["back_ends"]) or "-",
    ]


def _print(value: object, output: Output) -> None:
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    elif isinstance(value, dict):
        for vm in value["vms"]:
            click.echo(msgspec.json.encode(vm).decode())


@click.command()
@config_option
@output_option
def status(config: Path | None, output: Output) -> None:
    """Show every VM that is watched, and how it is."""
    found = _ask_status(config)
    if output != "table":
        _print(found, output)
        return
    print_table(COLUMNS, [_row(vm) for vm in found["vms"]])
    for name, reason in found["left_out"].items():
        click.echo(f"left out: {name}: {reason}", err=True)
    lost = {why: n for why, n in found["dropped"].items() if n}
    if lost:
        click.echo(f"lost in the kernel: {lost}", err=True)


@click.command()
@config_option
@click.option("--interval", default=1.0, show_default=True, help="Seconds a screen.")
def top(config: Path | None, interval: float) -> None:
    """Show the same, live; Ctrl-C ends it."""
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def screen() -> Table:
        table = Table(*COLUMNS, title=time.strftime("observer  %H:%M:%S"))
        for vm in _ask_status(config)["vms"]:
            bad = vm["state"].endswith(FAILED_SUFFIXES)
            cells = (Text(c, style="bold red" if bad else "") for c in _row(vm))
            table.add_row(*cells)
        return table

    with Live(screen(), auto_refresh=False, screen=sys.stdout.isatty()) as live:
        while True:
            time.sleep(interval)  # a screen's rate, not a wait for a condition
            live.update(screen(), refresh=True)


@click.command()
@config_option
@click.option("--follow", is_flag=True, help="Stay, and print what is yet to come.")
def events(config: Path | None, follow: bool) -> None:
    """Print verdicts as JSON lines: those open now, or with --follow as they come."""
    from observer.export.client import follow as follow_socket

    for vm in _ask_status(config)["vms"]:
        for verdict in vm["verdicts"]:
            click.echo(msgspec.json.encode(verdict).decode())
    if follow:
        for verdict in follow_socket(_socket(config)):
            click.echo(msgspec.json.encode(verdict).decode())


@click.command()
@config_option
@click.argument("vm")
def check(config: Path | None, vm: str) -> int:
    """Say in one line how VM is; exit 0 running, 1 failed, 7 not running.

    Codes are OCF's, so that Pacemaker or a Nagios-like monitor can call it.
    """
    found = {v["name"]: v for v in _ask_status(config)["vms"] if not v["spare"]}
    if vm not in found:
        click.echo(f"{vm}: not running")
        return CHECK_NOT_RUNNING
    state = found[vm]["state"]
    evidence = "; ".join(v["evidence"] for v in found[vm]["verdicts"])
    click.echo(f"{vm}: {state}" + (f": {evidence}" if evidence else ""))
    return CHECK_FAILED if state.endswith(FAILED_SUFFIXES) else CHECK_RUNNING
