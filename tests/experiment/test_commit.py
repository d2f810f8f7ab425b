# SPDX-License-Identifier: Apache-2.0
"""The commit that results name, of a repository made by git itself."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from observer.experiment.commit import measured_commit

if TYPE_CHECKING:
    from pathlib import Path

WHO = ("-c", "user.name=a", "-c", "user.email=a@b")


def _git(root: Path, *words: str) -> str:
    argv = ["git", "-C", str(root), *WHO, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A program and one result, committed."""
    root = tmp_path / "checkout"
    (root / "results").mkdir(parents=True)
    (root / "program").write_text("one", encoding="utf-8")
    (root / "results/run.json").write_text("{}", encoding="utf-8")
    _git(tmp_path, "init", "--quiet", str(root))
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "--message=first")
    return root


def test_results_made_anew_are_no_change_of_what_is_measured(checkout: Path) -> None:
    """Nor are new ones; the commit is named as git abbreviates it."""
    (checkout / "results/run.json").unlink()
    (checkout / "results/other.json").write_text("{}", encoding="utf-8")

    head = _git(checkout, "rev-parse", "HEAD").strip()
    assert measured_commit(checkout, checkout / "results") == head[:12]


@pytest.mark.parametrize("results", ["results", "../elsewhere"])
def test_a_changed_program_is_marked(checkout: Path, results: str) -> None:
    """Wherever the results go: nobody could measure it again from the commit."""
    (checkout / "program").write_text("two", encoding="utf-8")

    assert measured_commit(checkout, (checkout / results).resolve()).endswith("+")


def test_no_repository_has_no_commit(tmp_path: Path) -> None:
    """For example, an unpacked archive."""
    assert measured_commit(tmp_path, tmp_path / "results") == "unknown"
