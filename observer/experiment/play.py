# SPDX-License-Identifier: Apache-2.0
"""Plays one run on this host and leaves its folder, whole or not at all."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from observer.analysis.run_facts import RUN_FILE, RunFacts
from observer.analysis.tables import TABLES, unwritable, write_table
from observer.bench.programs import show_all
from observer.bench.report import is_emulated
from observer.demo.place import guest_image_folder
from observer.demo.report import host_facts, write_report
from observer.experiment.agents import AGENTS
from observer.experiment.built import built
from observer.experiment.cases import CASES, SILENT
from observer.experiment.designs import Offer
from observer.experiment.detection import VCPUS, Course, Detection
from observer.experiment.ear import Ear, design_heard
from observer.experiment.faults import FAULTS
from observer.experiment.latency import echo_kit
from observer.experiment.observers import DETECTION, OFFERED, SERVICES, SIDE_BY_SIDE
from observer.experiment.overhead import Bench, overhead_rows
from observer.experiment.recorded import RECORDING, recorded
from observer.experiment.scale import Plan, scale_rows
from observer.experiment.scene import RUN, own_images
from observer.experiment.service_run import ServiceCourse, service_run
from observer.experiment.workloads.table import EMULATED_SCALE, workloads
from observer.guests.images import build_image
from observer.guests.programs import with_programs
from observer.testbed.kernel import fetch
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from observer.demo.voice import Voice
    from observer.experiment.cost import Cost
    from observer.experiment.detection import Case
    from observer.experiment.plan import Sitting
    from observer.guests.images import GuestImage
    from observer.testbed.kernel import Kernel

__all__ = [
    "FULL",
    "FULL_SERVICES",
    "Tables",
    "folder_of",
    "image_of",
    "play",
    "prepare",
    "study_offers",
]

FULL = Course(tuple(CASES), SILENT)
QUICK_COURSE = Course(
    ("vmm-crash", "backend-hang", "guest-irqoff-spin", "vcpu-lockup"),
    ("idle", "paused"),
    calm_s=6.0,
)
QUIET = Course((), SILENT, observer_faults=False, calm_s=10.0)
"""What a recording is made of: nothing that is broken."""
QUICK_QUIET = msgspec.structs.replace(QUIET, silent=("idle", "busy"), calm_s=4.0)
FULL_SERVICES = ServiceCourse(tuple(FAULTS["net-failure"]))
QUICK_SERVICES = ServiceCourse(("nic-hang", "service-crash"), (), 6.0)
QUICK_WORKLOADS = ("cpu", "latency")
WINDOW_SECONDS = 8.0
VERDICT_COLUMNS = tuple(column.name for column in TABLES["verdicts"])
TURNS = 2
"""Forth and back: what drifts within a boot hits all designs alike."""
FULL_SCALE = Plan(turns=1)
QUICK_SCALE = Plan((10, 100), (0.1,), turns=1, seconds=8.0)
PART, NOTES = ".part", "notes.log"
Tables = dict[str, list[dict[str, object]]]


def study_offers() -> list[Offer]:
    """All that the study compares."""
    faced = {
        "detection": FULL.faults,
        "services": FULL_SERVICES.faults,
        "overhead": (),
        "scale": (),
        "tradeoff": (),
    }
    return [
        Offer(experiment, name, design.does, faced[experiment])
        for experiment, designs in OFFERED.items()
        for name, design in designs.items()
    ]


def folder_of(root: Path, sitting: Sitting) -> Path:
    """Where the run lies once it has ended."""
    return root / sitting.experiment / f"{sitting.run:02d}-{sitting.design}"


def bare_image_of(name: str, kernel: Kernel, build: Path) -> GuestImage:
    """What a design's guests boot from, without programs; built if need be."""
    design = DETECTION[name]
    release = next((r for r in kernel.releases if r.endswith(design.flavour)), None)
    return build_image(
        kernel,
        build / "-".join(filter(None, ("guests", *design.drivers, design.flavour))),
        design.drivers,
        release=release if design.flavour else None,
    )


def prepare(sitting: Sitting, tell: Callable[[str], None]) -> None:
    """Build on this machine what would take long in an emulated one."""
    build = checkout() / "build"
    kernel = fetch("debian-12", build / "testbed", tell)
    if sitting.experiment in ("detection", "tradeoff"):
        bare_image_of(sitting.design, kernel, build)
        for name in ("echo", "asker"):
            built(name, build / "experiment")
    elif sitting.experiment == "overhead":
        build_image(kernel, guest_image_folder())
        for workload in workloads(build).values():
            workload.kit(build)
        built("asker", build / "experiment")


def image_of(name: str, kernel: Kernel, build: Path, folder: Path) -> GuestImage:
    """The same with all programs that the guests have in this design."""
    design, image = DETECTION[name], bare_image_of(name, kernel, build)
    echo = echo_kit(build)
    programs: tuple[str | Path, ...] = (*echo.programs, *design.programs)
    start = echo.start + design.start
    if design.agent:
        programs = (*programs, AGENTS[name].program)
        start += AGENTS[name].start()
    return with_programs(image, programs, start, folder)


def _run_time_ns(before: Mapping[int, int]) -> Callable[[], int]:
    """The run time of BPF programs that were not there before."""

    def now() -> int:
        return sum(ns for number, ns in show_all().items() if number not in before)

    return now


@contextmanager
def _scratch() -> Iterator[Path]:
    """What lies there is quick to read and is in no run's folder."""
    with TemporaryDirectory(prefix="observer-experiment-", dir=RUN) as made:
        yield Path(made)


def _detection(
    sitting: Sitting,
    course: Course,
    notes: Path,
    tell: Callable[[str], None],
    recording: Path | None = None,
) -> Tables:
    """A design through its course; its rows, and where it is to be kept a recording."""
    design, build = DETECTION[sitting.design], checkout() / "build"
    kernel = fetch("debian-12", build / "testbed", tell)
    bpf_ns = _run_time_ns(show_all())
    with _scratch() as made, design_heard(design, notes) as voice:
        image = image_of(sitting.design, kernel, build, made)
        run = Detection(Ear(design, voice, sitting.seed, tell), image, made, build)
        recorder = recorded(recording, made / "record.log") if recording else None
        try:
            with recorder or nullcontext():
                cases = list(run.rows(course, bpf_ns))
        finally:
            run.close()
        tables = _tables(cases, run.costs, voice)
    asked = [request._asdict() for request in run.requests]
    return {**tables, "requests": asked}


def _services(
    sitting: Sitting, course: ServiceCourse, notes: Path, tell: Callable[[str], None]
) -> Tables:
    """Likewise beside a service VM."""
    design = SERVICES[sitting.design]
    bpf_ns = _run_time_ns(show_all())
    with (
        _scratch() as made,
        own_images(made, design.service_words),
        design_heard(design, notes) as voice,
    ):
        with service_run(Ear(design, voice, sitting.seed, tell)) as run:
            cases = list(run.rows(course, bpf_ns))
        return _tables(cases, run.costs, voice)


def _overhead(
    sitting: Sitting, names: Sequence[str], turns: int, tell: Callable[[str], None]
) -> dict[str, Tables]:
    """All designs in turn beside guests that work; the tables of each."""
    build = checkout() / "build"
    kernel = fetch("debian-12", build / "testbed", tell)
    known = workloads(build, EMULATED_SCALE if is_emulated(host_facts()) else 1.0)
    image = build_image(kernel, guest_image_folder())
    bench = Bench(image, build, WINDOW_SECONDS, tell)
    order = SIDE_BY_SIDE[:: -1 if sitting.run % 2 else 1]
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in order}
    its = [known[name] for name in names or known]
    for row in overhead_rows(its, order, turns, bench):
        rows[row.pop("design")].append(row)
    return {name: {"workload": found} for name, found in rows.items()}


def _tables(
    cases: Sequence[Case], costs: Sequence[Cost], voice: Voice | None
) -> Tables:
    said = voice.since(0) if voice else []
    return {
        "cases": [msgspec.structs.asdict(case) for case in cases],
        "verdicts": [
            {name: getattr(v, name) for name in VERDICT_COLUMNS} for v in said
        ],
        "cost": [msgspec.structs.asdict(cost) for cost in costs],
    }


def _played(
    sitting: Sitting, beside: Path, tell: Callable[[str], None], *, quick: bool
) -> dict[str, Tables]:
    """By design the tables; what else is to be kept lies in `beside` then."""
    own, notes = sitting.design, beside / NOTES
    match sitting.experiment:
        case "overhead":
            names, turns = (QUICK_WORKLOADS, 1) if quick else ((), TURNS)
            return _overhead(sitting, names, turns, tell)
        case "scale":
            plan = QUICK_SCALE if quick else FULL_SCALE
            its = msgspec.structs.replace(plan, first_turn=sitting.run)
            return {own: {"scale": list(scale_rows(its, tell))}}
        case "services":
            services = QUICK_SERVICES if quick else FULL_SERVICES
            return {own: _services(sitting, services, notes, tell)}
        case "tradeoff":
            quiet, file = QUICK_QUIET if quick else QUIET, beside / RECORDING
            return {own: _detection(sitting, quiet, notes, tell, file)}
    return {own: _detection(sitting, QUICK_COURSE if quick else FULL, notes, tell)}


def play(
    root: Path,
    sitting: Sitting,
    commit: str,
    tell: Callable[[str], None],
    *,
    quick: bool,
) -> None:
    """Play a run and leave its folder, or the folders of all that shared a boot."""
    began = time.monotonic()
    facts = _facts(sitting, commit, QUICK_SCALE if quick else FULL_SCALE)
    with TemporaryDirectory(prefix="observer-notes-", dir=RUN) as made:
        found = _played(sitting, Path(made), tell, quick=quick)
        took_s = round(time.monotonic() - began, 1)
        # The one that stands for all is the last: it is there, so the others are.
        for name in sorted(found, key=lambda n: n == sitting.design):
            own = msgspec.structs.replace(sitting, design=name)
            known = SERVICES if sitting.experiment == "services" else DETECTION
            does = known[name].does
            own_facts = msgspec.structs.replace(
                facts, design=name, does=does, seconds=took_s
            )
            whole = folder_of(root, own)
            with _room(whole):
                _leave(whole, own_facts, found[name], Path(made))


@contextmanager
def _room(whole: Path) -> Iterator[None]:
    """HostError where there is no room for a run."""
    try:
        yield
    except OSError as e:
        raise unwritable(whole, e) from e


def _facts(sitting: Sitting, commit: str, plan: Plan) -> RunFacts:
    guests = len(VCPUS)
    vms = {"detection": guests, "tradeoff": guests, "scale": max(plan.counts)}
    return RunFacts(
        experiment=sitting.experiment,
        run=sitting.run,
        design=sitting.design,
        does="",
        workload=sitting.workload,
        seed=sitting.seed,
        started=datetime.now(UTC).isoformat(),
        seconds=0.0,
        commit=commit,
        host=host_facts(),
        vms=vms.get(sitting.experiment, 1),
    )


def _leave(whole: Path, facts: RunFacts, tables: Tables, beside: Path) -> None:
    """Write it near its place, and rename it there: it is whole or not at all."""
    part = whole.with_name(f"{whole.name}{PART}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, rows in tables.items():
        table = part / f"{name}.parquet"
        write_table(table, name, rows, experiment=facts.experiment)
    for path in beside.iterdir():
        shutil.copy(path, part)
    write_report(facts, part / RUN_FILE)
    part.rename(whole)
