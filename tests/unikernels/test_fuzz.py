# SPDX-License-Identifier: Apache-2.0
"""A short run of each fuzzer; `make fuzz` runs them for ten minutes."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = checkout() / "unikernels"
SECONDS = 10


@pytest.mark.parametrize("fuzzer", ["aoe", "rules", "salvage", "vring", "words"])
def test_nonsense_finds_nothing(fuzzer: str, tmp_path: Path) -> None:
    """New input is kept apart from the corpus, which is read only."""
    program = checkout() / "build/unikernels/fuzz" / fuzzer
    argv = ["make", "-C", str(SOURCES), f"../build/unikernels/fuzz/{fuzzer}"]
    subprocess.run(argv, check=True, capture_output=True)
    done = subprocess.run(
        [
            *(program, f"-max_total_time={SECONDS}", "-print_final_stats=1"),
            f"-artifact_prefix={tmp_path}/",
            *(tmp_path, SOURCES / "fuzz/corpus" / fuzzer),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 60,
    )
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)

    assert done.returncode == 0, done.stderr[-2000:]
    assert runs
    assert int(runs[1]) > 1000
