# SPDX-License-Identifier: Apache-2.0
"""What our BPF programs take, as the kernel counts it while `bpf_stats` are on."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Program",
    "bpf_stats",
    "programs_since",
    "read_programs",
    "show",
    "show_all",
]

BPFTOOL_SECONDS = 60.0
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
NAME_CHARS = 15
"""The kernel cuts a program's name; it cuts nothing that tells ours apart."""


class Program(msgspec.Struct, frozen=True):
    """One program's runs while it was looked at."""

    name: str
    runs: int
    run_time_ns: int
    ns_per_run: float | None


@contextmanager
def bpf_stats(stats: Path = STATS) -> Iterator[None]:
    """Have the kernel time every program while the block runs; that costs too."""
    was = stats.read_text()
    stats.write_text("1")
    try:
        yield
    finally:
        stats.write_text(was)


def read_programs(shown: list[dict[str, Any]], root: str) -> dict[int, Program]:
    """Our programs by their number: those whose link or self is pinned in `root`."""
    return {
        int(program["id"]): Program(
            program.get("name", "?"),
            program.get("run_cnt", 0),
            program.get("run_time_ns", 0),
            None,
        )
        for program in shown
        if any(path.startswith(root) for path in program.get("pinned", ()))
    }


def programs_since(
    before: dict[int, Program], after: dict[int, Program]
) -> list[Program]:
    """Runs and time between two looks, the one that took most first."""
    nothing = Program("?", 0, 0, None)
    found = []
    for number, program in after.items():
        then = before.get(number, nothing)
        runs = program.runs - then.runs
        spent = program.run_time_ns - then.run_time_ns
        per_run = round(spent / runs, 1) if runs else None
        found.append(Program(program.name, runs, spent, per_run))
    return sorted(found, key=lambda p: -p.run_time_ns)


def _bpftool(*argv: str) -> Any:
    try:
        done = subprocess.run(
            ["bpftool", "-j", "-f", *argv],
            capture_output=True,
            check=False,
            timeout=BPFTOOL_SECONDS,
        )
    except FileNotFoundError as e:
        raise HostError("bpftool is missing: apt install bpftool.") from e
    return msgspec.json.decode(done.stdout or b"[]")


def show(root: str) -> dict[int, Program]:
    """Our programs as they are now; what is pinned of them are their links."""
    links = _bpftool("link", "show")
    ours = {
        link["prog_id"]
        for link in links
        if any(path.startswith(root) for path in link.get("pinned", ()))
    }
    shown = _bpftool("prog", "show")
    pinned = [{**p, "pinned": [root]} for p in shown if p["id"] in ours]
    return read_programs(pinned or shown, root)


def show_all() -> dict[int, int]:
    """The run time in ns of every program of this host, by number."""
    return {
        int(p["id"]): int(p.get("run_time_ns", 0)) for p in _bpftool("prog", "show")
    }
