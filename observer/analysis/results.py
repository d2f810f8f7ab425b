# SPDX-License-Identifier: Apache-2.0
"""The results of a study: from what was read to sections of tables.

Nothing is typed here that could be counted; RESULTS.md and the page are made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.analysis.checks import all_checks
from observer.analysis.cost_tables import (
    cost_section,
    heartbeat_section,
    scale_section,
)
from observer.analysis.detection_tables import (
    detection_section,
    observer_section,
    silence_section,
)
from observer.analysis.document import Document, Section, Table, figure
from observer.analysis.load_tables import (
    latency_section,
    overhead_section,
    recovery_section,
)
from observer.analysis.order import DESIGNS, in_order
from observer.analysis.published import PUBLISHED
from observer.analysis.recovery import Sitting, frame_of, read_sittings
from observer.analysis.runs import Runs, read_runs
from observer.analysis.tradeoff import (
    NO_RECORDING,
    Recording,
    read_recordings,
    tradeoff_section,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

    from observer.analysis.run_facts import RunFacts

__all__ = ["Study", "document", "read_study"]

NOTES = "notes.md"
"""Beside the runs, and all that is written by hand."""
SHORT = 12
"""Digits of a commit that tell it apart."""


@dataclass(frozen=True)
class Study:
    """All that there is to go by."""

    runs: Runs
    sittings: Sequence[Sitting]
    recovery: pd.DataFrame
    """Rows of all sittings."""
    recordings: Sequence[Recording]
    by_hand: tuple[str, ...]
    """Paragraphs of `notes.md`: why what does not hold does not."""
    notes: tuple[str, ...]


def read_study(roots: Sequence[Path]) -> Study:
    """Runs, and the rows of older experiments, in these folders."""
    runs = read_runs(roots)
    sittings, notes = read_sittings(roots)
    recordings = read_recordings(roots)
    if not recordings:
        notes.append(NO_RECORDING)
    return Study(
        runs,
        sittings,
        frame_of(sittings),
        recordings,
        tuple(text for root in roots for text in _paragraphs(root / NOTES)),
        (*runs.notes, *notes),
    )


def _paragraphs(path: Path) -> list[str]:
    """None where there is no such file; its headings are not ours."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _by_hand(study: Study) -> Section | None:
    if not study.by_hand:
        return None
    return Section(f"Notes, from `{NOTES}`", study.by_hand)


def _each(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _what_ran(study: Study) -> Section:
    facts = study.runs.facts
    rows = []
    for experiment in dict.fromkeys(f.experiment for f in facts):
        counts = study.runs.runs_of(experiment)
        for design in in_order(counts, DESIGNS):
            its = [f for f in facts if (f.experiment, f.design) == (experiment, design)]
            rows.append(
                (
                    *(experiment, design, str(counts[design])),
                    _each(f.vms for f in its),
                    _workloads(study, experiment) or _each(f.workload for f in its),
                    _each(f.seed for f in its),
                    figure(sum(f.seconds for f in its) / 60),
                    _each(f.commit[:SHORT] for f in its),
                    its[-1].does,
                )
            )
    columns = (
        *("experiment", "design", "runs", "VMs", "workload", "seeds", "minutes"),
        *("commit", "what it does"),
    )
    return Section(
        "What was run",
        (
            (
                "A run is one boot with one design, taken through all its faults and "
                "one workload; it is the unit of all statistics here."
            ),
        ),
        (
            Table(
                "Runs of each design",
                columns,
                tuple(rows),
                (
                    (
                        "The designs of `overhead` share each boot: its minutes stand "
                        "with each of them."
                    ),
                ),
            ),
        ),
        notes=study.notes,
    )


def _workloads(study: Study, experiment: str) -> str:
    """Those that took turns in each run, where there are any."""
    return _each(study.runs.of("workload", experiment)["workload"])


def _mixed(facts: Sequence[RunFacts]) -> list[str]:
    """Experiments whose designs were not all measured alike."""
    kinds = {(f.experiment, f.commit, f.host) for f in facts}
    named = [experiment for experiment, *_ in kinds]
    return [e for e in dict.fromkeys(f.experiment for f in facts) if named.count(e) > 1]


def _hosts(facts: Sequence[RunFacts]) -> tuple[str, ...]:
    commits = list(dict.fromkeys(f.commit[:SHORT] for f in facts))
    hosts = list(
        dict.fromkeys(
            f"Linux {h.kernel}, {h.cpus} CPUs ({h.cpu}), {h.accelerator}"
            f"{', nested' if h.nested else ''}, {h.qemu}, Python {h.python}, "
            f"observer {h.observer}"
            for h in (f.host for f in facts)
        )
    )
    started = sorted(f.started for f in facts)
    boots = len({(f.run, f.started) for f in facts})
    said = [
        f"{len(facts)} runs in {boots} boots.",
        f"Begun from {started[0]} to {started[-1]}.",
        f"Commit{'s' if len(commits) > 1 else ''}: {_each(commits)}.",
        *(f"Host: {host}." for host in hosts),
    ]
    if mixed := _mixed(facts):
        said.append(
            f"Runs of several commits or hosts are mixed in {', '.join(mixed)}: a "
            "difference between designs there may be one between those."
        )
    if any(f.host.nested or "emulated" in f.host.accelerator for f in facts):
        said.append(
            "This host is emulated or nested: its figures compare designs on the same "
            "host, and claim nothing of another."
        )
    return tuple(said)


def _checks(study: Study) -> Section:
    words = {True: "holds", False: "**does not hold**", None: "not measured"}
    rows = tuple((c.claim, words[c.holds], c.figures) for c in all_checks(study.runs))
    table = Table("Claims", ("claim", "result", "by these figures"), rows)
    return Section(
        "What holds",
        ("Each claim is computed from the runs; medians over runs decide.",),
        (table,),
    )


def _published() -> Section:
    columns = ("system", "what", "figure", "where", "what differs from here")
    return Section(
        "What others published",
        (
            (
                "Their own figures, from their texts, on their hosts: to be read "
                "beside ours, not against them."
            ),
        ),
        (Table("Figures", columns, tuple(tuple(f) for f in PUBLISHED)),),
    )


def _method() -> Section:
    return Section(
        "How to read this",
        (
            (
                "`a [b, c]` is the median over runs with its 95 % confidence interval "
                "(percentile bootstrap, 10,000 resamples, seeded); with five runs "
                "such an interval is narrower than it should be, and spans at most "
                "the runs' own range."
            ),
            (
                "p is of a two-sided permutation test over runs, not corrected for "
                "how many there are: exact where there are at most 20,000 ways to "
                "deal them to two designs, else over 10,000 of them."
            ),
            (
                "What a run tells several times is first reduced to its median; "
                "percentiles of latency are taken within a run, by nearest rank."
            ),
            "The runs' folders hold every sample: `experiments/notebooks` begin there.",
        ),
    )


def document(study: Study) -> Document:
    """All sections for which there are data."""
    runs = study.runs
    cases, services = runs.of("cases", "detection"), runs.of("cases", "services")
    sections = (
        _checks(study),
        _by_hand(study),
        _what_ran(study),
        detection_section(cases, "Detection", "detection"),
        silence_section(cases),
        observer_section(cases),
        cost_section(runs.of("cost", "detection"), "Cost", "cost"),
        detection_section(services, "Detection of a service's failures", "services"),
        heartbeat_section(services, runs.of("cost", "services")),
        cost_section(runs.of("cost", "services"), "Cost beside a service"),
        recovery_section(study.recovery, study.sittings),
        latency_section(runs.of("requests", "detection"), cases),
        overhead_section(runs.of("workload", "overhead")),
        scale_section(runs.of("scale", "scale")),
        tradeoff_section(study.recordings),
        _published(),
        _method(),
    )
    return Document(
        "Observer designs compared",
        ("Where should the observer of a VM live?", *_hosts(runs.facts)),
        tuple(section for section in sections if section is not None),
    )
