# SPDX-License-Identifier: Apache-2.0
"""`observer doctor`: what this host offers, what will work, what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from observer.cli.output import Output, output_option, print_table
from observer.doctor.host import this_host
from observer.doctor.report import Report, examine

if TYPE_CHECKING:
    from observer.doctor.finding import Finding

__all__ = ["doctor", "show"]


def _told(finding: Finding) -> str:
    if not finding.next_step:
        return finding.detail
    return f"{finding.detail}\n→ {finding.next_step}"


def _show_table(report: Report) -> None:
    print_table(
        ("check", "state", "detail"),
        [(f.name, f.state, _told(f)) for f in report.findings],
    )
    print_table(
        ("ability", "works", "in the way"),
        [(a.name, "yes" if a.works else "no", a.because) for a in report.abilities],
    )
    if report.install:
        click.echo(f"To install what is missing: {report.install}")


def show(report: Report, output: Output) -> None:
    """Print a report in one of the three ways."""
    if output == "table":
        _show_table(report)
    elif output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(report)))
    else:
        for finding in report.findings:
            click.echo(msgspec.json.encode(finding))


@click.command
@output_option
def doctor(output: Output) -> int:
    """Say what this host offers, what will work, what to install.

    The exit status is 0 when `observer run` will work, otherwise 1.
    """
    report = examine(this_host())
    show(report, output)
    return 0 if report.runs else 1
