# SPDX-License-Identifier: Apache-2.0
"""`observer experiment run` for the study: many runs, each a boot of the host."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from observer.cli.demo import here_option
from observer.errors import DeadlineError, HostError, ObserverError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from observer.experiment.plan import Sitting

__all__ = ["ALL", "STUDIES", "play", "run_study"]

ALL = "all"
STUDIES = ("detection", "services", "overhead", "scale", "tradeoff")
MEMORY = {"scale": "10G"}
"""Of the nested host, where it is to have more than usual."""
RUN_SECONDS = 2400.0


def _say(text: str) -> None:
    click.echo(f"observer: {text}", err=True)


def _designs(
    name: str, wanted: Sequence[str], *, quick: bool
) -> Mapping[str, list[str]]:
    """By experiment, those that run; UsageError for one that there is not."""
    from observer.experiment.observers import OFFERED, QUICK

    its = {n: OFFERED[n] for n in STUDIES if name in (n, ALL)}
    known = {design for names in its.values() for design in names}
    if wrong := next((w for w in wanted if w not in known), None):
        raise UsageError(f"{name} has no {wrong}: {', '.join(sorted(known))}.")
    usual = {n: QUICK[n] if quick else tuple(names) for n, names in its.items()}
    return {
        n: [d for d in names if d in wanted] if wanted else list(usual[n])
        for n, names in its.items()
    }


def run_study(
    name: str,
    designs: Sequence[str],
    *,
    runs: int,
    seed: int,
    quick: bool,
    out: Path | None,
    kernel: str,
) -> int:
    """All runs that are not there yet; one that fails does not lose the others."""
    from observer.analysis.run_facts import RUN_FILE, read_facts
    from observer.demo.place import is_kvm_host, run_in_testbed
    from observer.experiment.commit import measured_commit
    from observer.experiment.plan import bar, sittings
    from observer.experiment.play import folder_of, prepare
    from observer.testbed.nested import checkout

    root = (out or checkout() / f"build/{'quick' if quick else 'experiment'}").resolve()
    order = sittings(_designs(name, designs, quick=quick), runs, seed)
    files = [(sitting, folder_of(root, sitting) / RUN_FILE) for sitting in order]
    for _, file in files:
        if file.exists():
            read_facts(file)  # what could not be compared is refused before it is run
    left = [sitting for sitting, file in files if not file.exists()]
    here, failed, began = is_kvm_host(_say), 0, time.monotonic()
    if not here and not root.is_relative_to(checkout()):
        raise UsageError(
            f"A nested host cannot write to {root}: name a folder below {checkout()}."
        )
    commit = measured_commit(checkout(), root)
    for done, sitting in enumerate(left):
        took_s = time.monotonic() - began
        _say(f"{bar(done, len(left), took_s)}: {sitting.design}, run {sitting.run}")
        words = _words(sitting, root, commit, quick=quick)
        said = "it says why in its output"
        try:
            prepare(sitting, _say)
            if here:
                code = _play_here(words)
            else:
                memory = MEMORY.get(sitting.experiment)
                code = run_in_testbed(words, kernel, RUN_SECONDS, _say, memory)
        except ObserverError as e:
            _say(said := e.message)
            code = 1
        if code:
            failed += 1
            _keep(root, sitting, commit, said)
    _say(f"{len(order) - failed} of {len(order)} runs are in {root}")
    return 1 if failed else 0


def _keep(root: Path, sitting: Sitting, commit: str, said: str) -> None:
    """That it failed, for the results to tell; it is run again the next time."""
    from observer.analysis.failures import Failure, keep_failure

    _say(f"{sitting.design}, run {sitting.run} failed: it is left for later")
    failure = Failure(
        experiment=sitting.experiment,
        run=sitting.run,
        design=sitting.design,
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        said=said,
    )
    try:
        keep_failure(root, failure)
    except HostError as e:
        _say(e.message)


def _words(sitting: Sitting, root: Path, commit: str, *, quick: bool) -> list[str]:
    return [
        *("experiment", "play", sitting.experiment, sitting.design),
        *("--run", str(sitting.run), "--seed", str(sitting.seed)),
        *("--root", str(root), "--commit", commit, *(["--quick"] if quick else [])),
    ]


def _play_here(words: Sequence[str]) -> int:
    """In a process of its own, as in a nested host."""
    argv = (sys.executable, "-m", "observer", *words, "--here")
    try:
        return subprocess.run(argv, check=False, timeout=RUN_SECONDS).returncode
    except subprocess.TimeoutExpired as e:
        raise DeadlineError(
            f"It did not end in {RUN_SECONDS:g} s, and was killed: see which guests "
            "it left (observer guest list)."
        ) from e


@click.command(hidden=True)
@click.argument("experiment")
@click.argument("design")
@click.option("--run", type=click.IntRange(0), default=0)
@click.option("--seed", type=int, default=1)
@click.option("--root", type=click.Path(path_type=Path), required=True)
@click.option("--commit", default="unknown")
@click.option("--quick", is_flag=True)
@here_option
def play(
    *,
    experiment: str,
    design: str,
    run: int,
    seed: int,
    root: Path,
    commit: str,
    quick: bool,
    here: bool,
) -> int:
    """Play one run on this host; what `run` does for each of many."""
    from observer.experiment.plan import Sitting
    from observer.experiment.play import folder_of
    from observer.experiment.play import play as play_one

    if not here:
        raise UsageError("`experiment play` is for `experiment run`: use that.")
    sitting = Sitting(experiment, run, design, seed)
    play_one(root, sitting, commit, _say, quick=quick)
    _say(f"it is in {folder_of(root, sitting)}")
    return 0
