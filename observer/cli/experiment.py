# SPDX-License-Identifier: Apache-2.0
"""`observer experiment`: designs of observers against each other."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from observer.cli.demo import here_option, kernel_option
from observer.cli.output import output_option, print_table
from observer.cli.report import regenerate, runs_option
from observer.cli.study import ALL, STUDIES, play, run_study
from observer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from observer.cli.output import Output
    from observer.experiment.plan import Turn
    from observer.experiment.report import Report
    from observer.experiment.rows import Row

__all__ = ["experiment"]

SCENE_SECONDS, TURN_SECONDS, RUN_SECONDS = 600.0, 90.0, 60.0  # in the nested host


def _say(text: str) -> None:
    click.echo(f"observer: {text}", err=True)


@click.group()
def experiment() -> None:
    """Break services under several designs, and compare what comes of it."""


experiment.add_command(play)


@experiment.command("list")
@output_option
def list_all(output: Output) -> None:
    """Show the experiments, their faults and their designs."""
    import msgspec

    from observer.experiment.designs import offers
    from observer.experiment.play import study_offers

    rows = [*study_offers(), *offers()]
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    elif output == "jsonl":
        for row in rows:
            click.echo(msgspec.json.encode(row))
    else:
        print_table(
            ("EXPERIMENT", "DESIGN", "WHAT IT DOES", "FAULTS"),
            [
                (
                    row.experiment,
                    row.design,
                    row.does,
                    ", ".join(row.faults),
                )
                for row in rows
            ],
        )


def _faced(
    name: str, designs: Sequence[str], faults: Sequence[str]
) -> Mapping[str, Sequence[str]]:
    """Which faults each design faces; UsageError where that makes no sense."""
    from observer.experiment.designs import DESIGNS, faults_of
    from observer.experiment.faults import FAULTS

    if name not in FAULTS:
        there_are = ", ".join((*STUDIES, *FAULTS, ALL))
        raise UsageError(f"There is no experiment {name}: {there_are}.")
    for given, known in ((designs, DESIGNS), (faults, FAULTS[name])):
        if wrong := next((g for g in given if g not in known), None):
            raise UsageError(f"{name} has no {wrong}: {', '.join(known)}.")
    wanted = designs or list(DESIGNS)
    found = faults_of(name, wanted, faults)
    if not any(found.values()):
        raise UsageError(f"None of {', '.join(wanted)} faces {', '.join(faults)}.")
    return found


def _refuse(name: str, *parameters: str) -> None:
    """UsageError where one of these was given: this experiment has no use for it."""
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in parameters
        and context.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT
    ]
    if given:
        raise UsageError(f"{name} takes no {', '.join(given)}: leave it out.")


@experiment.command()
@click.argument("name")
@click.option("--design", "designs", multiple=True, help="Only these.")
@click.option("--fault", "faults", multiple=True, help="Only these.")
@click.option("--runs", "rounds", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the order.")
@click.option("--quick", is_flag=True, help="Of the study: few designs, few faults.")
@click.option(
    "--period-ms",
    type=click.FloatRange(1),
    default=10.0,
    show_default=True,
    help="Between two datagrams, each way.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the rows go; else a new file, or the runs, under build/experiment.",
)
@kernel_option
@here_option
@output_option
def run(
    *,
    name: str,
    designs: tuple[str, ...],
    faults: tuple[str, ...],
    rounds: int,
    seed: int,
    quick: bool,
    period_ms: float,
    out: Path | None,
    kernel: str,
    here: bool,
    output: Output,
) -> int:
    """Run the experiment NAME, or all of the study; what has ended is kept.

    Of net-failure, disk-failure and all-failure a run is a row of a file.  Of the study
    it is a folder, and runs that are there are not run again.
    """
    from observer.demo.place import is_kvm_host, run_in_testbed
    from observer.experiment.guest_load import build_load
    from observer.experiment.plan import turns
    from observer.testbed.nested import checkout

    if name in (*STUDIES, ALL):
        _refuse(name, "faults", "period_ms", "output")
        return run_study(
            name, designs, runs=rounds, seed=seed, quick=quick, out=out, kernel=kernel
        )
    faced = _faced(name, designs, faults)
    _refuse(name, "quick")
    if out is not None and out.is_dir():
        raise UsageError(f"{out} is a folder: --out of {name} is a file.")
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = out or checkout() / f"build/experiment/{name}-{when}.jsonl"
    if not here and not is_kvm_host(_say):
        given: dict[str, Sequence[object]] = {
            "--design": designs,
            "--fault": faults,
            "--runs": (rounds,),
            "--seed": (seed,),
            "--period-ms": (period_ms,),
            "--out": (path.resolve(),),
            "--output": (output,),
        }
        options = [
            w for key, values in given.items() for v in values for w in (key, f"{v}")
        ]
        build_load(checkout() / "build/experiment")  # sooner done than there
        a_round = sum(TURN_SECONDS + RUN_SECONDS * len(its) for its in faced.values())
        return run_in_testbed(
            ("experiment", "run", name, *options),
            kernel,
            SCENE_SECONDS + rounds * a_round,
            _say,
        )
    _run_here(
        name,
        turns(faced, rounds, seed),
        rounds=rounds,
        seed=seed,
        period_ms=period_ms,
        path=path,
    )
    _report([path], output)
    _say(f"all runs are in {path}")
    return 0


def _run_here(
    name: str,
    order: Sequence[Turn],
    *,
    rounds: int,
    seed: int,
    period_ms: float,
    path: Path,
) -> None:
    import msgspec

    from observer.demo.place import guest_image_folder
    from observer.demo.report import host_facts
    from observer.experiment.designs import DESIGNS
    from observer.experiment.guest_load import build_load
    from observer.experiment.rows import Head, RowFile
    from observer.experiment.run import Study
    from observer.experiment.scene import scene
    from observer.guests.images import build_image
    from observer.testbed.kernel import fetch
    from observer.testbed.nested import checkout

    build, taking_part = checkout() / "build", {turn.design for turn in order}
    kernel = fetch("debian-12", build / "testbed", _say)
    image = build_image(kernel, guest_image_folder())
    head = Head(
        experiment=name,
        host=msgspec.structs.replace(host_facts(), seed=seed),
        rounds=rounds,
        period_ms=period_ms,
        designs={n: d.does for n, d in DESIGNS.items() if n in taking_part},
        load_average=os.getloadavg()[0],
    )
    file = RowFile(path, head)
    load = build_load(build / "experiment")
    with scene(name, image, load, period_ms, _say) as stage:
        for row in Study(name, stage, seed, _say).rows(order):
            file.append(row)
            _say(_line(row))


def _line(row: Row) -> str:
    def ms(figure: float | None) -> str:
        return "-" if figure is None else f"{figure:.1f} ms"

    said = row.verdict or "no verdict"
    packets = f", lost {row.lost_packets} of {row.sent_packets}"
    return (
        f"round {row.round + 1}: {row.design}: {row.fault}: {said} after "
        f"{ms(row.detection_ms)}, flows after {ms(row.recovery_ms)}"
        f"{'' if row.sent_packets is None else packets}"
    )


@experiment.command()
@click.argument(
    "files",
    type=click.Path(path_type=Path, dir_okay=False),
    nargs=-1,
    metavar="[FILE...]",
)
@runs_option
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The Markdown file; else experiments/RESULTS.md.",
)
@output_option
def report(
    files: tuple[Path, ...],
    roots: tuple[Path, ...],
    results: Path | None,
    output: Output,
) -> int:
    """Write RESULTS.md, the HTML page and the notebooks anew, from all runs.

    With FILEs of `observer experiment run`, all of one experiment, sum up those alone.
    """
    if files:
        if roots or results:
            raise UsageError("Name FILEs, or --runs and --results, but not both.")
        _report(files, output)
    else:
        regenerate(roots, results)
    return 0


def _cell(figure: float | None, form: str = ".1f") -> str:
    return "-" if figure is None else f"{figure:{form}}"


def _report(paths: Sequence[Path], output: Output) -> None:
    """What the rows come to, as it was asked for."""
    import msgspec

    from observer.experiment.report import report_of
    from observer.experiment.rows import read_files

    found = report_of(*read_files(paths))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    if output == "jsonl":
        for line in (*found.summaries, *found.ratios):
            click.echo(msgspec.json.encode(line))
        return
    for head in found.heads:
        host = head.host
        click.echo(
            f"{head.experiment} on Linux {host.kernel}, {host.accelerator}"
            f"{', nested' if host.nested else ''}, load {head.load_average:.1f}, "
            f"seed {host.seed}, a datagram every {head.period_ms:g} ms each way"
        )
    _table(found)


def _table(found: Report) -> None:
    columns = {
        "DESIGN": [s.design for s in found.summaries],
        "FAULT": [s.fault for s in found.summaries],
        "N": [str(s.n) for s in found.summaries],
        "SEEN": [str(s.detected) for s in found.summaries],
        "MENDED": [str(s.repaired) for s in found.summaries],
        "DETECTION MS": [_cell(s.detection_ms) for s in found.summaries],
        "P95": [_cell(s.detection_p95_ms) for s in found.summaries],
        "RECOVERY MS": [_cell(s.recovery_ms) for s in found.summaries],
        "P95 ": [_cell(s.recovery_p95_ms) for s in found.summaries],
        "PAID MS": [_cell(s.paid_ms) for s in found.summaries],
        "GAP MS": [_cell(s.longest_gap_ms) for s in found.summaries],
        "LOST": [_cell(s.lost, "d") for s in found.summaries],
        "TWICE": [_cell(s.duplicated, "d") for s in found.summaries],
        "LATE": [_cell(s.reordered, "d") for s in found.summaries],
        "TCP": [_cell(s.tcp_survived, "d") for s in found.summaries],
        "I/O ERRORS": [_cell(s.io_errors, "d") for s in found.summaries],
        "WRONG": [_cell(s.verify_errors, "d") for s in found.summaries],
        "TWO WRITERS": [_cell(s.two_writers, "d") for s in found.summaries],
    }
    told = {name: cells for name, cells in columns.items() if set(cells) - {"-"}}
    print_table(tuple(told), zip(*told.values(), strict=True))
    if not found.ratios:
        return
    results = {None: "not measured", True: "ok", False: "FAIL"}
    print_table(
        ("COMPARED", "OURS MS", "THEIRS MS", "RATIO", "AT LEAST", "RESULT"),
        [
            [
                *(r.what, _cell(r.ours_ms), _cell(r.theirs_ms), _cell(r.ratio)),
                *(f"{r.bar:g}", results[r.passed]),
            ]
            for r in found.ratios
        ],
    )
