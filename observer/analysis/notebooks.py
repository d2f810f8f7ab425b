# SPDX-License-Identifier: Apache-2.0
"""Runs the notebooks of `experiments/notebooks`: percent files become executed .ipynb.

That takes jupytext and nbclient; where they are missing, what to install is said.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from observer.analysis.markdown import write_text
from observer.errors import ProgramError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["NEEDED", "execute", "lacking"]

NEEDED = ("jupytext", "nbclient", "ipykernel")
CELL_SECONDS = 600
# Not TCP: the port of a kernel is anybody's on this machine.
BY_SOCKET = {"KernelManager": {"transport": "ipc"}}


def lacking() -> list[str]:
    """Which of the programs that it takes are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def execute(sources: Sequence[Path], runs: Sequence[Path], out: Path) -> Iterator[Path]:
    """Execute each on these runs; give where it lies as soon as it is done.

    UsageError where one cannot be executed here; ProgramError where a cell fails.
    """
    if missing := lacking():
        raise UsageError(
            f"Notebooks need {', '.join(missing)}: pip install {' '.join(missing)}."
        )
    import os

    import jupytext
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from traitlets.config import Config

    where = os.pathsep.join(str(root.resolve()) for root in runs)
    for source in sources:
        book = jupytext.read(source)
        client = NotebookClient(
            book,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            config=Config(BY_SOCKET),
        )
        try:
            client.execute(env={**os.environ, "OBSERVER_RUNS": where})
        except CellExecutionError as e:
            raise ProgramError(
                f"{source} failed ({e.ename}: {e.evalue}): run it by itself with "
                "OBSERVER_RUNS set to see where."
            ) from e
        path = out / f"{source.stem}.ipynb"
        write_text(path, jupytext.writes(book, fmt="ipynb"))
        yield path
