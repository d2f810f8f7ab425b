# SPDX-License-Identifier: Apache-2.0
"""`observer demo` and `observer soak`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from observer.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.demo.report import Row
    from observer.demo.run import Stage

__all__ = ["demo", "soak"]

DEMO_SECONDS = 1500.0
KERNEL = click.Choice(["debian-12", "debian-13"])

here_option = click.option("--here", is_flag=True, hidden=True)
kernel_option = click.option(
    "--kernel", type=KERNEL, default="debian-12", help="Of the nested host, if needed."
)


def _say(text: str) -> None:
    click.echo(f"observer: {text}", err=True)


def _result(row: Row) -> str:
    took = "" if row.detection_ms is None else f" after {row.detection_ms:.1f} ms"
    said = f"{row.verdict} {row.subject}{took}" if row.verdict else "no verdict"
    return f"{'ok  ' if row.passed else 'FAIL'}  {row.fault:<18} {said}"


def _table(rows: list[Row]) -> None:
    print_table(
        ("CASE", "EXPECTED", "SAID", "SUBJECT", "MS", "ALLOWED", "RESULT"),
        [
            [
                row.fault,
                row.expected,
                row.verdict or "-",
                row.subject,
                "-" if row.detection_ms is None else f"{row.detection_ms:.1f}",
                "-" if row.within_ms is None else f"{row.within_ms:.0f}",
                "ok" if row.passed else "FAIL",
            ]
            for row in rows
        ],
    )


def _play(name: str, play: Callable[[Stage], Iterator[Row]], loader: str) -> int:
    """Run the cases here; the table, the report, and how it went."""
    from observer.demo.place import guest_image_folder
    from observer.demo.report import Report, host_facts, write_report
    from observer.demo.run import Stage
    from observer.demo.voice import observer_running
    from observer.guests.images import build_image
    from observer.testbed.kernel import fetch
    from observer.testbed.nested import checkout

    began = time.monotonic()
    folder = checkout() / "build" / name
    folder.mkdir(parents=True, exist_ok=True)
    kernel = fetch("debian-12", checkout() / "build/testbed", _say)
    image = build_image(kernel, guest_image_folder())
    design = "sleeping" if loader == "libbpf" else "scanning"
    rows: list[Row] = []
    options = () if loader == "libbpf" else ("--loader", loader)
    with ExitStack() as stack:
        _say("arms the observer")
        voice = stack.enter_context(observer_running(folder / "observer.log", *options))
        stage = Stage(voice, image, design)
        stack.callback(stage.close)
        for row in play(stage):
            rows.append(row)
            click.echo(_result(row))
            if not row.passed:
                click.echo(f"      {row.evidence}")
    passed = all(row.passed for row in rows)
    seconds = round(time.monotonic() - began, 1)
    path = folder / "report.json"
    write_report(Report(host_facts(), passed, seconds, rows), path)
    click.echo()
    _table(rows)
    good = sum(row.passed for row in rows)
    click.echo(
        f"{good} of {len(rows)} cases as expected, in {seconds:.0f} s: "
        f"{path.relative_to(checkout())}"
    )
    return 0 if passed else 1


@click.command()
@kernel_option
@click.option("--loader", type=click.Choice(["libbpf", "bcc"]), default="libbpf")
@here_option
def demo(kernel: str, loader: str, here: bool) -> int:
    """Break live VMs in nine ways and let them be in six: see what is said."""
    from observer.demo.place import is_kvm_host, run_in_testbed

    if not here and not is_kvm_host(_say):
        arguments = ("demo", "--loader", loader)
        return run_in_testbed(arguments, kernel, DEMO_SECONDS, _say)
    from observer.demo.run import demo_rows

    return _play("demo", lambda stage: demo_rows(stage, _say), loader)


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@kernel_option
@click.option("--loader", type=click.Choice(["libbpf", "bcc"]), default="libbpf")
@here_option
def soak(minutes: float, kernel: str, loader: str, here: bool) -> int:
    """Play the silent cases in rotation; any verdict is a failure."""
    from observer.demo.place import is_kvm_host, run_in_testbed

    if not here and not is_kvm_host(_say):
        arguments = ("soak", "--minutes", str(minutes), "--loader", loader)
        seconds = 60 * minutes + DEMO_SECONDS
        return run_in_testbed(arguments, kernel, seconds, _say)
    from observer.demo.run import soak_rows

    return _play("soak", lambda stage: soak_rows(stage, minutes, _say), loader)
