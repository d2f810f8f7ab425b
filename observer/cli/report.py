# SPDX-License-Identifier: Apache-2.0
"""`observer report`: the runs of a study as one page, its results, its notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observer.analysis.results import Study

__all__ = ["regenerate", "report", "runs_option"]

runs_option = click.option(
    "--runs",
    "roots",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="FOLDER",
    help="Where runs lie; else experiments/results and build/experiment. "
    "May be given several times.",
)


def _say(text: str) -> None:
    click.echo(f"observer: {text}", err=True)


def _study(roots: Sequence[Path]) -> tuple[Study, Sequence[Path]]:
    from observer.analysis.results import read_study
    from observer.analysis.runs import default_roots

    places = roots or default_roots()
    study = read_study(places)
    for note in study.notes:
        _say(note)
    return study, places


def _write_page(study: Study, path: Path) -> None:
    from observer.analysis.markdown import write_text
    from observer.analysis.page import html, pictures
    from observer.analysis.results import document

    write_text(path, html(document(study), pictures(study)))
    click.echo(path)


@click.command()
@runs_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page; else build/report/index.html.",
)
def report(roots: tuple[Path, ...], out: Path | None) -> None:
    """Write one HTML page, plots included, of all runs of the study."""
    from observer.testbed.nested import checkout

    study, _ = _study(roots)
    _write_page(study, out or checkout() / "build/report/index.html")


def regenerate(roots: Sequence[Path], results: Path | None) -> None:
    """RESULTS.md, the page, and the notebooks where those can be executed."""
    from observer.analysis.markdown import markdown, write_text
    from observer.analysis.notebooks import execute, lacking
    from observer.analysis.results import document
    from observer.testbed.nested import checkout

    study, places = _study(roots)
    path = results or checkout() / "experiments/RESULTS.md"
    write_text(path, markdown(document(study)))
    click.echo(path)
    folder = checkout() / "build/report"
    _write_page(study, folder / "index.html")
    if missing := lacking():
        _say(
            "the notebooks were not executed: pip install "
            f"{' '.join(missing)}, and report again."
        )
        return
    sources = sorted((checkout() / "experiments/notebooks").glob("*.py"))
    for done in execute(sources, places, folder / "notebooks"):
        click.echo(done)
