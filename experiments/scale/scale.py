# SPDX-License-Identifier: Apache-2.0
r"""What the daemon takes against the number of VMs, and against how many are late.

    .venv/bin/observer testbed run --kernel debian-13 --memory 10G -- .venv/bin/python \
        experiments/scale/scale.py --out build/scale.parquet

A line of JSON for each measurement, and all of them in a Parquet file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from observer.analysis.tables import write_table
from observer.errors import ObserverError
from observer.experiment.scale import VALIDITY, Plan, scale_rows
from observer.experiment.tiny_vms import TICK_MS


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, text.split(",")))
    except ValueError as e:
        raise click.BadParameter("numbers with commas between, e.g. 10,100") from e


def _tell(text: str) -> None:
    click.echo(text, err=True)


@click.command(context_settings={"show_default": True})
@click.option("--vms", default="10,30,100,300,1000", help="Numbers of VMs.")
@click.option("--late", default=100, help="The number at which some are late.")
@click.option("--turns", default=2, help="Up, down, up…")
@click.option("--seconds", default=20.0, help="Of each measurement.")
@click.option("--tick-ms", default=TICK_MS, help="A guest halts for; 0: for good.")
@click.option("--validity", default=VALIDITY, help="A sign of life is good for.")
@click.option("--out", type=click.Path(path_type=Path), help="A Parquet file.")
def main(  # noqa: PLR0913, PLR0917 - as many as it has options
    vms: str,
    late: int,
    turns: int,
    seconds: float,
    tick_ms: int,
    validity: str,
    out: Path | None,
) -> None:
    """Measure the observer beside that many VMs."""
    plan = Plan(
        _numbers(vms),
        late_vms=late,
        turns=turns,
        seconds=seconds,
        tick_ms=tick_ms,
        validity=validity,
    )
    rows: list[dict[str, Any]] = []
    try:
        for row in scale_rows(plan, _tell):
            click.echo(msgspec.json.encode(row).decode())
            rows.append(row)
            if out is not None:
                write_table(out, "scale", rows, experiment="scale")
    except ObserverError as e:
        sys.exit(e.message)


if __name__ == "__main__":
    main()
