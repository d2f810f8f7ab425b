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


def test_rings_withstand_the_other_side(tmp_path: Path) -> None:
    """Honest or hostile, under ASan and UBSan; its own report says what was checked."""
    program = tmp_path / "vring_test"
    sources = ("tests/vring_test.c", "tests/report.c", "lib/vring.c")
    argv = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", *SANITIZED]
    argv += ["-Iinclude", "-Itests", *sources, "-o", str(program)]
    subprocess.run(argv, check=True, cwd=SOURCES)
    done = subprocess.run(
        [program], capture_output=True, text=True, check=False, timeout=60
    )
    *checks, summary = done.stdout.splitlines()

    assert [line for line in checks if not line.startswith("PASS ")] == []
    assert summary == f"SUMMARY {len(checks)} 0"
    assert done.returncode == 0


def test_images_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    """And small enough."""
    made = []
    for name in ("one", "other"):
        argv = ["make", "-C", str(SOURCES), f"OUT={tmp_path / name}"]
        subprocess.run(argv, check=True, capture_output=True)
        made.append({p.name: p.read_bytes() for p in (tmp_path / name).glob("*.elf")})

    assert made[0] == made[1]
    assert set(made[0]) == {"net.elf", "disk.elf"}
    assert all(len(image) <= 64 * 1024 for image in made[0].values())
