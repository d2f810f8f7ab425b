# SPDX-License-Identifier: Apache-2.0
"""Plays one run on this host and leaves its folder, whole or not at all."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from observer.analysis.run_facts import RUN_FILE, RunFacts
from observer.analysis.tables import write_table
from observer.bench.programs import show_all
from observer.clock import SECOND
from observer.demo.report import host_facts, write_report
from observer.errors import HostError
from observer.experiment.agents import AGENTS
from observer.experiment.cases import CASES, SILENT
from observer.experiment.detection import VCPUS, Course, Detection
from observer.experiment.ear import Ear, design_heard
from observer.experiment.faults import FAULTS
from observer.experiment.observers import DETECTION, SERVICES
from observer.experiment.scene import RUN, own_images
from observer.experiment.service_run import ServiceCourse, service_run
from observer.guests.images import build_image
from observer.guests.programs import with_programs
from observer.testbed.kernel import fetch
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from observer.experiment.cost import Cost
    from observer.experiment.detection import Case
    from observer.experiment.plan import Sitting
    from observer.guests.images import GuestImage
    from observer.testbed.kernel import Kernel

__all__ = [
    "FULL",
    "FULL_SERVICES",
    "QUICK_COURSE",
    "QUICK_SERVICES",
    "Tables",
    "folder_of",
    "image_of",
    "leave",
    "play_detection",
    "play_services",
    "playing",
]

FULL = Course(tuple(CASES), SILENT)
QUICK_COURSE = Course(
    ("vmm-crash", "backend-hang", "guest-irqoff-spin", "vcpu-lockup"),
    ("idle", "paused"),
    calm_s=6.0,
)
FULL_SERVICES = ServiceCourse(tuple(FAULTS["net-failure"]))
QUICK_SERVICES = ServiceCourse(("nic-hang", "service-crash"), (), 6.0)
PART, NOTES = ".part", "notes.log"
Tables = dict[str, list[dict[str, object]]]


def folder_of(root: Path, sitting: Sitting) -> Path:
    """Where the run lies once it has ended."""
    return root / sitting.experiment / f"{sitting.run:02d}-{sitting.design}"


def image_of(name: str, kernel: Kernel, build: Path, folder: Path) -> GuestImage:
    """What a design's guests boot from, built if need be."""
    design = DETECTION[name]
    release = next((r for r in kernel.releases if r.endswith(design.flavour)), None)
    image = build_image(
        kernel,
        build / "-".join(filter(None, ("guests", *design.drivers, design.flavour))),
        design.drivers,
        release=release if design.flavour else None,
    )
    programs: tuple[str | Path, ...] = design.programs
    start = design.start
    if design.agent:
        programs, start = (*programs, AGENTS[name].program), AGENTS[name].start()
    if not programs and not start:
        return image
    made = folder / "image"
    made.mkdir(parents=True, exist_ok=True)
    return with_programs(image, programs, start, made)


def _run_time_ns(before: Mapping[int, int]) -> Callable[[], int]:
    """The run time of BPF programs that were not there before."""

    def now() -> int:
        return sum(ns for number, ns in show_all().items() if number not in before)

    return now


def play_detection(
    sitting: Sitting,
    course: Course,
    image: GuestImage,
    folder: Path,
    tell: Callable[[str], None],
) -> Tables:
    """A design through its course; its rows, and its notes in the folder."""
    design = DETECTION[sitting.design]
    bpf_ns = _run_time_ns(show_all())
    with design_heard(design, folder / NOTES) as voice:
        run = Detection(Ear(design, voice, sitting.seed, tell), image)
        try:
            cases = list(run.rows(course, bpf_ns))
        finally:
            run.close()
    return _tables(cases, run.costs)


def play_services(
    sitting: Sitting, course: ServiceCourse, folder: Path, tell: Callable[[str], None]
) -> Tables:
    """Likewise beside a service VM."""
    design = SERVICES[sitting.design]
    bpf_ns = _run_time_ns(show_all())
    with (
        TemporaryDirectory(prefix="observer-experiment-", dir=RUN) as made,
        own_images(Path(made), design.service_words),
        design_heard(design, folder / NOTES) as voice,
        service_run(Ear(design, voice, sitting.seed, tell)) as run,
    ):
        cases = list(run.rows(course, bpf_ns))
    return _tables(cases, run.costs)


def _tables(cases: Sequence[Case], costs: Sequence[Cost]) -> Tables:
    return {
        "cases": [msgspec.structs.asdict(case) for case in cases],
        "cost": [msgspec.structs.asdict(cost) for cost in costs],
    }


def leave(
    root: Path,
    sitting: Sitting,
    does: str,
    commit: str,
    play: Callable[[Path], Tables],
) -> Path:
    """Play it, and leave its folder; HostError where there is no room for it."""
    whole = folder_of(root, sitting)
    part = whole.with_name(f"{whole.name}{PART}")
    began_ns, started = time.monotonic_ns(), datetime.now(UTC).isoformat()
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, rows in play(part).items():
            table = part / f"{name}.parquet"
            write_table(table, name, rows, experiment=sitting.experiment)
        facts = RunFacts(
            experiment=sitting.experiment,
            run=sitting.run,
            design=sitting.design,
            does=does,
            workload=sitting.workload,
            seed=sitting.seed,
            started=started,
            seconds=round((time.monotonic_ns() - began_ns) / SECOND, 1),
            commit=commit,
            host=host_facts(),
            vms=len(VCPUS),
        )
        write_report(facts, part / RUN_FILE)
        part.rename(whole)
    except OSError as e:
        raise HostError(
            f"{whole} cannot be written ({e.strerror or e}): make room or mend the "
            "folder, and run it again; the runs before it are kept."
        ) from e
    return whole


def playing(
    sitting: Sitting, *, quick: bool, tell: Callable[[str], None]
) -> Callable[[Path], Tables]:
    """What plays it, given a folder for what it notes."""

    def detection(folder: Path) -> Tables:
        build = checkout() / "build"
        kernel = fetch("debian-12", build / "testbed", tell)
        image = image_of(sitting.design, kernel, build, folder)
        course = QUICK_COURSE if quick else FULL
        return play_detection(sitting, course, image, folder, tell)

    def services(folder: Path) -> Tables:
        course = QUICK_SERVICES if quick else FULL_SERVICES
        return play_services(sitting, course, folder, tell)

    return {"detection": detection, "services": services}[sitting.experiment]
