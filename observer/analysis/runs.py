# SPDX-License-Identifier: Apache-2.0
"""Run folders as frames: each row with the run, design and workload that it is of.

A folder that is not whole (`.part`) is left out, and that is told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from observer.analysis.failures import read_failures
from observer.analysis.run_facts import RUN_FILE, RunFacts, read_facts
from observer.analysis.tables import TABLES, read_table
from observer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

__all__ = ["PART", "Runs", "default_roots", "read_runs"]

PART = ".part"
NEEDED = {
    "detection": ("cases", "verdicts", "cost", "requests"),
    "services": ("cases", "verdicts", "cost"),
    "overhead": ("workload",),
    "scale": ("scale",),
    "tradeoff": ("cases", "verdicts", "cost", "requests"),
}
"""Without which a run of this experiment is none."""


@dataclass(frozen=True)
class Runs:
    """All that was read."""

    facts: tuple[RunFacts, ...]
    frames: Mapping[str, pd.DataFrame]
    """By table; every table is there, empty if no run has it."""
    notes: tuple[str, ...]
    """What was left out or failed, each in a sentence."""

    def of(self, table: str, experiment: str) -> pd.DataFrame:
        """Its rows of one experiment."""
        frame = self.frames[table]
        return frame[frame["experiment"] == experiment]

    def runs_of(self, experiment: str) -> dict[str, int]:
        """How many runs each design has, in the order in which they came."""
        mine = [f.design for f in self.facts if f.experiment == experiment]
        return {design: mine.count(design) for design in dict.fromkeys(mine)}


def default_roots(
    root: Path | None = None, env: Mapping[str, str] = os.environ
) -> list[Path]:
    """Where runs lie: OBSERVER_RUNS, else what is committed and what was just run."""
    if given := env.get("OBSERVER_RUNS"):
        return [Path(part) for part in given.split(os.pathsep)]
    from observer.testbed.nested import checkout

    base = root or checkout()
    return [base / "experiments/results", base / "build/experiment"]


def _found(roots: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Folders of runs, and what was left out."""
    whole: list[Path] = []
    notes: list[str] = []
    for root in roots:
        parts = sorted(p for p in root.rglob(f"*{PART}") if p.is_dir())
        notes += [
            f"{part} was left out: its run did not end; it can be taken away."
            for part in parts
        ]
        whole += [
            path.parent
            for path in sorted(root.rglob(RUN_FILE))
            if not any(parent.name.endswith(PART) for parent in path.parents)
        ]
    return list(dict.fromkeys(path.resolve() for path in whole)), notes


def _columns(facts: RunFacts) -> dict[str, object]:
    return {
        "experiment": facts.experiment,
        "run": facts.run,
        "design": facts.design,
        "run_workload": facts.workload,
        "host_vms": facts.vms,
        "run_seconds": facts.seconds,
        "run_id": f"{facts.run:02d}-{facts.design}@{facts.started}",
        "boot": f"{facts.run:02d}@{facts.started}",
    }


def _tables(folder: Path, facts: RunFacts) -> dict[str, pd.DataFrame]:
    """Those that this run has; UsageError where it lacks one that it needs."""
    if facts.experiment not in NEEDED:
        raise UsageError(
            f"{folder} is of an experiment {facts.experiment} that there is not: take "
            "it out of the folder."
        )
    needed = NEEDED[facts.experiment]
    names = [n for n in TABLES if n in needed or (folder / f"{n}.parquet").exists()]
    return {
        name: read_table(folder / f"{name}.parquet", name, facts.experiment).assign(
            **_columns(facts)
        )
        for name in names
    }


def _joined(name: str, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    if there := [frame for frame in frames if len(frame)]:
        return pd.concat(there, ignore_index=True)
    joined = ("experiment", "run", "design", "run_workload", "host_vms", "run_seconds")
    columns = [*(c.name for c in TABLES[name]), *joined, "run_id", "boot"]
    return pd.DataFrame(columns=columns)


def read_runs(roots: Sequence[Path]) -> Runs:
    """All runs beneath these folders; UsageError where one cannot be read, or none is.

    A run that lies in two of them, as one that was copied to be committed, counts once.
    """
    folders, notes = _found(roots)
    facts: dict[tuple[str, int, str, str], RunFacts] = {}
    frames: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for folder in folders:
        its = read_facts(folder / RUN_FILE)
        key = (its.experiment, its.run, its.design, its.started)
        if key in facts:
            notes.append(f"{folder} was left out: the same run lies elsewhere too.")
            continue
        facts[key] = its
        for name, frame in _tables(folder, its).items():
            frames[name].append(frame)
    if not facts:
        places = ", ".join(map(str, roots))
        raise UsageError(
            f"There is no run in {places}: `observer experiment run all` makes some, "
            "--runs names another folder."
        )
    return Runs(
        facts=tuple(facts.values()),
        frames={name: _joined(name, its) for name, its in frames.items()},
        notes=(*notes, *(failure.sentence for failure in read_failures(roots))),
    )
