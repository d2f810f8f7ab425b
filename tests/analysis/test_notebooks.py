# SPDX-License-Identifier: Apache-2.0
"""Each notebook runs on a small study, as a program and as a notebook."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import jupytext
import msgspec
import pytest

from observer.analysis.notebooks import execute
from observer.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parents[2] / "experiments/notebooks"
WORDS = "# %% [markdown]"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


def names(paths: Sequence[Path]) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_a_notebook_is_a_program_that_runs(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On whatever runs OBSERVER_RUNS names."""
    monkeypatch.setenv("OBSERVER_RUNS", str(folder))

    assert runpy.run_path(str(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_a_notebook_is_what_jupytext_makes_of_it(path: Path) -> None:
    """To .ipynb and back not a letter changes; it has words and code."""
    text = path.read_text()
    book = jupytext.reads(text, fmt="py:percent")
    again = jupytext.reads(jupytext.writes(book, fmt="ipynb"), fmt="ipynb")

    assert {cell.cell_type for cell in book.cells} == {"code", "markdown"}
    back = jupytext.writes(again, fmt="py:percent")
    # Before that are the licence and jupytext's own header.
    assert back[back.index(WORDS) :] == text[text.index(WORDS) :]


def test_a_notebook_is_executed_with_its_pictures(folder: Path, tmp_path: Path) -> None:
    """By a kernel of its own, as `observer experiment report` does."""
    (path,) = execute([FOLDER / "growth_of_cost.py"], [folder], tmp_path)
    book = msgspec.json.decode(path.read_bytes())
    outputs = [out for cell in book["cells"] for out in cell.get("outputs", ())]

    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert not any(out["output_type"] in ("error", "stream") for out in outputs)


def test_a_notebook_that_fails_is_named(tmp_path: Path) -> None:
    """Here since there is nothing to look at."""
    with pytest.raises(ProgramError, match=r"growth_of_cost.py failed .*no run in"):
        list(execute([FOLDER / "growth_of_cost.py"], [tmp_path], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
