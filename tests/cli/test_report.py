# SPDX-License-Identifier: Apache-2.0
"""`observer report` and `observer experiment report` without files."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from click.testing import CliRunner
from synthetic_runs import write_detection

from observer.cli.experiment import experiment
from observer.cli.report import report
from observer.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_page_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    """And what was left out is told."""
    write_detection(tmp_path / "runs", 1, "sleeping")
    (tmp_path / "runs/detection/02-none.part").mkdir()
    out = tmp_path / "some/page.html"
    words = ["--runs", str(tmp_path / "runs"), "--out", str(out)]
    done = CliRunner().invoke(report, words, catch_exceptions=False)

    assert done.exit_code == 0
    assert done.stdout.strip() == str(out)
    assert "02-none.part was left out" in done.stderr
    assert "Observer designs compared" in out.read_text()


def test_no_runs_are_told_in_a_sentence(tmp_path: Path) -> None:
    """Nothing is written."""
    for verb, words in ((report, []), (experiment, ["report"])):
        done = CliRunner().invoke(verb, [*words, "--runs", str(tmp_path)])
        assert isinstance(done.exception, UsageError)
        assert "There is no run in" in done.exception.message


def test_files_and_folders_are_not_summed_up_together(tmp_path: Path) -> None:
    """They are of two kinds."""
    words = ["report", "some.jsonl", "--runs", str(tmp_path)]
    done = CliRunner().invoke(experiment, words)

    assert isinstance(done.exception, UsageError)
    assert "not both" in done.exception.message


def test_the_verbs_are_there_without_what_analyses() -> None:
    """Help comes at once: nothing heavy is imported for it."""
    heavy = "{'numba', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)"
    program = (
        f"import sys, observer.cli.experiment, observer.cli.report; print({heavy})"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "set()"
