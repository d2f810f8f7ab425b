# SPDX-License-Identifier: Apache-2.0
"""`observer bench`."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from observer.cli.demo import here_option, kernel_option
from observer.cli.output import print_table

if TYPE_CHECKING:
    from observer.bench.compare import Row, Sample
    from observer.bench.quiet import DaemonCost
    from observer.bench.report import BenchReport, Size, Weighed

__all__ = ["bench"]

BENCH_SECONDS = 1500.0
NATIVE_EXITS, EMULATED_EXITS = 100_000, 20_000
NATIVE_ROUNDS, EMULATED_ROUNDS = 7, 4


def _say(text: str) -> None:
    click.echo(f"observer: {text}", err=True)


def _tell(sample: Sample) -> None:
    from observer.bench.compare import lowest_tenth

    counted = "" if sample.counted is None else f", it counted {sample.counted}"
    cost = f"{lowest_tenth(sample.batch_ns_per_exit):.0f} ns per exit"
    _say(f"round {sample.round + 1}: {sample.arm}: {cost}{counted}")


def _cells(row: Row) -> list[str]:
    if row.left_out:
        return [row.arm, "-", "-", "-", "-", "-", f"left out: {row.left_out}"]
    return [
        row.arm,
        f"{row.ns_per_exit:.0f}",
        f"{row.median_ns_per_exit:.0f}",
        f"{row.added_ns_per_exit:+.0f}",
        f"{row.ratio:.2f}",
        {None: "-", True: "all", False: "MISSED"}[row.counted_all],
        row.does,
    ]


def _say_daemon(daemon: DaemonCost) -> None:
    _say(
        f"the daemon beside {daemon.vms} quiet VMs: {daemon.rss_mib} MiB (peak "
        f"{daemon.peak_rss_mib}), {daemon.wakeups} wake-ups and {daemon.cpu_ms} ms of "
        f"CPU in {daemon.seconds:.0f} s, armed in {daemon.armed_s} s"
    )


def _show(report: BenchReport) -> None:
    print_table(
        ("TOOL", "NS/EXIT", "MEDIAN", "ADDED", "RATIO", "COUNTED", "WHAT IT DOES"),
        [_cells(row) for row in report.rows],
    )
    click.echo(report.paid_for)
    print_table(
        ("BPF PROGRAM", "RUNS", "NS/RUN"),
        [
            [p.name, str(p.runs), "-" if p.ns_per_run is None else f"{p.ns_per_run}"]
            for p in report.programs
            if p.runs
        ],
    )
    print_table(
        ("GUEST", "IMAGE", "MEMORY", "UP AFTER"),
        [
            [
                boot.guest,
                f"{boot.image_bytes / 1024:.0f} KiB",
                f"{boot.memory_mib} MiB",
                f"{boot.median_ms:.0f} ms",
            ]
            for boot in report.boots
        ],
    )
    print_table(
        ("CHECK", "FIGURE", "BAR", "RESULT"),
        [
            [c.name, f"{c.figure} {c.unit}", f"{c.bar}", "ok" if c.passed else "FAIL"]
            for c in report.checks
        ],
    )


def _weigh(size: Size, folder: Path, elf: Path) -> Weighed:
    """Measure what needs no comparison."""
    from observer.bench.boot import boots_of
    from observer.bench.report import Weighed, versions
    from observer.bench.run import with_quiet_vms, with_stats
    from observer.demo.place import guest_image_folder
    from observer.demo.report import host_facts
    from observer.guests.images import build_image
    from observer.services.images import placed_images
    from observer.testbed.kernel import fetch
    from observer.testbed.nested import checkout

    kernel = fetch("debian-12", checkout() / "build/testbed", _say)
    linux = build_image(kernel, guest_image_folder())
    daemon = with_quiet_vms(linux, folder, _say)
    _say_daemon(daemon)
    _say("the kernel times our programs")
    programs = with_stats(elf, size.exits, folder)
    vmlinuz = Path(linux.vmlinuz)
    boots = boots_of(size.rounds, placed_images(), vmlinuz, _say)
    return Weighed(host_facts(), versions(), size, daemon, programs, boots)


def _measure(size: Size, path: Path) -> BenchReport:
    """Run it all; what is known is on disk after each run, should time run out."""
    from observer.bench.arms import table_of_arms
    from observer.bench.exits_guest import build_exits_guest
    from observer.bench.report import report_of, write
    from observer.bench.run import samples_of

    began = time.monotonic()
    elf = build_exits_guest(path.parent)
    weighed = _weigh(size, path.parent, elf)
    arms, samples = table_of_arms(), []

    def leave_out(name: str, reason: str) -> None:
        _say(f"{name} is left out: {reason}")
        failed = next(arm for arm in arms if arm.name == name)
        arms[arms.index(failed)] = replace(failed, left_out=reason)

    for sample in samples_of(tuple(arms), size.rounds, elf, size.exits, leave_out):
        samples.append(sample)
        _tell(sample)
        write(report_of(weighed, arms, samples, time.monotonic() - began), path)
    report = report_of(weighed, arms, samples, time.monotonic() - began)
    write(report, path)
    return report


def _size(exits: int | None, rounds: int | None) -> Size:
    """What fits the host, unless it was given."""
    from observer.bench.report import Size, is_emulated
    from observer.demo.report import host_facts

    if is_emulated(host_facts()):
        return Size(exits or EMULATED_EXITS, rounds or EMULATED_ROUNDS)
    return Size(exits or NATIVE_EXITS, rounds or NATIVE_ROUNDS)


def _replay() -> int:
    """On this machine: that needs no KVM."""
    from observer.bench.replay import PER_SECOND_MIN, bench_replay
    from observer.demo.report import write_report
    from observer.testbed.nested import checkout

    found = bench_replay()
    write_report(found, checkout() / "build/bench/replay.json")
    click.echo(
        f"replay: {found.per_second / 1e6:.0f} million events a second on one core, at "
        f"least {PER_SECOND_MIN / 1e6:.0f}: {'ok' if found.passed else 'FAIL'} (the "
        f"first of {len(found.passes_s) + 1} passes took {found.first_s:.2f} s)"
    )
    return 0 if found.passed else 1


@click.command()
@kernel_option
@click.option("--exits", type=click.IntRange(1000), help="Per run.")
@click.option("--rounds", type=click.IntRange(1), help="Runs of each tool.")
@click.option("--replay", is_flag=True, help="Only how fast recordings are judged.")
@here_option
def bench(
    kernel: str, exits: int | None, rounds: int | None, replay: bool, here: bool
) -> int:
    """Compare the cost per VM exit with other tools', and weigh the daemon."""
    from observer.demo.place import is_kvm_host, run_in_testbed

    if replay:
        return _replay()
    if not here and not is_kvm_host(_say):
        given = {"--exits": exits, "--rounds": rounds}
        options = [word for k, v in given.items() if v for word in (k, str(v))]
        return run_in_testbed(("bench", *options), kernel, BENCH_SECONDS, _say)
    from observer.testbed.nested import checkout

    path = checkout() / "build/bench/report.json"
    report = _measure(_size(exits, rounds), path)
    _show(report)
    click.echo(f"In {report.seconds:.0f} s: {path.relative_to(checkout())}")
    return 0 if report.passed else 1
