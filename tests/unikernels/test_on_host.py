# SPDX-License-Identifier: Apache-2.0
"""The parts of the service VMs without hardware in them, built for this machine."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = checkout() / "unikernels"
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def checked(tmp_path: Path, *argv: str) -> None:
    """Build a program of checks, run it, and hold it to its own report."""
    program = tmp_path / "checks"
    warned = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Iinclude"]
    made = [*warned, "-Itests", *argv, "tests/report.c", "-o", str(program)]
    subprocess.run(made, check=True, cwd=SOURCES)
    done = subprocess.run(
        [program], capture_output=True, text=True, check=False, timeout=60
    )
    *checks, summary = done.stdout.splitlines()

    assert [line for line in checks if not line.startswith("PASS ")] == []
    assert summary == f"SUMMARY {len(checks)} 0"
    assert done.returncode == 0


def test_rings_withstand_the_other_side(tmp_path: Path) -> None:
    """Honest or hostile, under ASan and UBSan; its own report says what was checked."""
    checked(tmp_path, *SANITIZED, "tests/vring_test.c", "lib/vring.c")


def test_no_frame_is_lost_whenever_a_service_dies(tmp_path: Path) -> None:
    """Stopped after each instruction, as the image's own flags make them."""
    sources = (f"lib/{name}.c" for name in ("salvage", "net_port", "frames", "vring"))
    checked(tmp_path, "-O2", "tests/salvage_test.c", *sources)


def test_a_beat_is_made_when_the_host_needs_it(tmp_path: Path) -> None:
    """While a part owes work, and once more when it does no longer."""
    checked(tmp_path, *SANITIZED, "tests/beat_test.c", "lib/beat.c")


def test_a_part_that_owes_is_reported_from_within(tmp_path: Path) -> None:
    """Once a failure, and not while it works."""
    checked(tmp_path, *SANITIZED, "tests/watchdog_test.c", "lib/watchdog.c")


def test_a_responder_says_what_memory_shows(tmp_path: Path) -> None:
    """Late timers and rings, each once; nothing of what is idle, paused or nonsense."""
    sources = ("tests/rules_test.c", "responder/rules.c")
    checked(tmp_path, *SANITIZED, "-Iresponder", *sources)


def test_images_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    """And small enough."""
    made = []
    for name in ("one", "other"):
        argv = ["make", "-C", str(SOURCES), f"OUT={tmp_path / name}"]
        subprocess.run(argv, check=True, capture_output=True)
        made.append({p.name: p.read_bytes() for p in (tmp_path / name).glob("*.elf")})

    assert made[0] == made[1]
    assert set(made[0]) == {"net.elf", "disk.elf", "responder.elf"}
    assert all(len(image) <= 64 * 1024 for image in made[0].values())
