# SPDX-License-Identifier: Apache-2.0
"""Runs every tier of tests and ends in one line over all of them, as pytest does.

Before that line stands what a tier complained of in which every test passed: the
reason is far above by then, and in another tier's output.

A tier is this machine, or a nested host with one of the kernels; what hangs on the
kernel's version runs on each of them.  Nothing may be skipped: a skipped test counts
as a failure here.
"""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

__all__ = [
    "TIERS",
    "Ended",
    "Tally",
    "Tier",
    "closing_line",
    "complaint",
    "files_in",
    "main",
    "read_tally",
]

RESULTS = Path("build/test")
LINE_WIDTH = 80
KEPT_LINES = 50
PYTEST = (".venv/bin/python", "-m", "pytest")
ON_HOST = "(bpf or vm or nested or service or guest)"


@dataclass(frozen=True)
class Tier:
    """A place to run tests in, the command that leads there, and what runs there."""

    name: str
    prefix: tuple[str, ...]
    markers: str


@dataclass(frozen=True)
class Tally:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            self.errors + other.errors,
            self.skipped + other.skipped,
        )

    @property
    def good(self) -> bool:
        """Whether something passed and nothing did otherwise."""
        return self.passed > 0 and not (self.failed or self.errors or self.skipped)


@dataclass(frozen=True)
class Ended:
    """How a tier ended: what pytest counted, its exit status, its error output."""

    tier: str
    tests: Tally
    status: int
    said: str

    @property
    def tally(self) -> Tally:
        """With an error where it went wrong although every test passed."""
        # For example, the nested host's kernel complained.
        wrong = self.status and self.tests.good
        return self.tests + Tally(errors=1) if wrong else self.tests


def _nested(kernel: str, kind: str, markers: str) -> Tier:
    # Twice what the longest takes: one that stands still is found out, and begun again.
    in_host = ("testbed", "run", "--kernel", kernel, "--timeout", "2700")
    return Tier(f"{kernel}{kind}", (".venv/bin/observer", *in_host, "--"), markers)


TIERS = (
    Tier("machine", (), f"not {ON_HOST}"),
    _nested("debian-12", "", f"{ON_HOST} and not newest"),
    # Not one tier: less is to be done again where the emulator fails.
    _nested("debian-13", "", "(bpf or vm or nested) and not oldest"),
    _nested("debian-13", "-services", "service or guest"),
)


def read_tally(junit: Path) -> Tally:
    """What a pytest run wrote; no file, or half of one, is an error."""
    try:
        # Our own pytest wrote it a moment ago.
        suites = ET.parse(junit).getroot().iter("testsuite")  # noqa: S314
    except (OSError, ET.ParseError):
        return Tally(errors=1)
    total = Tally()
    for suite in suites:
        failed, errors, skipped, tests = (
            int(suite.get(key, "0"))
            for key in ("failures", "errors", "skipped", "tests")
        )
        passed = tests - failed - errors - skipped
        total += Tally(passed, failed, errors, skipped)
    return total


def closing_line(tally: Tally, seconds: float) -> str:
    """The last line of it all, in pytest's words."""
    counts = (
        (tally.failed, "failed"),
        (tally.passed, "passed"),
        (tally.skipped, "skipped"),
        (tally.errors, "error" if tally.errors == 1 else "errors"),
    )
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    clock = timedelta(seconds=int(seconds))
    return f" {said or 'no tests ran'} in {seconds:.2f}s ({clock}) ".center(
        LINE_WIDTH, "="
    )


def files_in(said: str) -> list[str]:
    """The files of what `pytest --collect-only -q` says."""
    names = (line.split("::")[0] for line in said.splitlines() if "::" in line)
    return list(dict.fromkeys(names))


def _files(markers: str) -> list[str]:
    """Where these tests are: looking through all is long where CPUs are emulated."""
    collected = subprocess.run(
        [*PYTEST, "--collect-only", "-q", "-p", "no:randomly", "-m", markers],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if collected.returncode:
        print(collected.stdout, flush=True)  # noqa: T201 - why there is no such tier
        return []
    return files_in(collected.stdout)


def complaint(ended: Ended) -> str:
    """Why a tier is not good whose tests all passed; else nothing, pytest said it."""
    if not (ended.status and ended.tests.good):
        return ""
    lines = ended.said.splitlines()[-KEPT_LINES:]
    what = f"{ended.tier}: every test passed, yet it ended with {ended.status}."
    return "\n".join([what, *lines])


def _run(tier: Tier) -> Ended:
    print(f" {tier.name} ".center(LINE_WIDTH, "="), flush=True)  # noqa: T201
    junit, errors = (RESULTS / f"{tier.name}.{kind}" for kind in ("xml", "err"))
    junit.unlink(missing_ok=True)
    files = _files(tier.markers) if tier.prefix else ["tests"]
    if not files:
        return Ended(tier.name, Tally(errors=1), 1, "")
    with errors.open("wb") as error_output:
        status = subprocess.run(
            [*tier.prefix, *PYTEST, "-m", tier.markers, f"--junitxml={junit}", *files],
            stdin=subprocess.DEVNULL,
            stderr=error_output,
            check=False,
        ).returncode
    said = errors.read_text(encoding="utf-8", errors="replace")
    print(said, end="", file=sys.stderr, flush=True)  # noqa: T201
    return Ended(tier.name, read_tally(junit), status, said)


def main() -> int:
    """Run all tiers, also after a failed one; 0 when all of it passed."""
    start = time.monotonic()
    RESULTS.mkdir(parents=True, exist_ok=True)
    ended = [_run(tier) for tier in TIERS]
    for why in filter(None, map(complaint, ended)):
        print(why)  # noqa: T201
    total = sum((tier.tally for tier in ended), Tally())
    print(closing_line(total, time.monotonic() - start))  # noqa: T201
    return 0 if all(tier.tally.good for tier in ended) else 1


if __name__ == "__main__":
    sys.exit(main())
