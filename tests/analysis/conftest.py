# SPDX-License-Identifier: Apache-2.0
"""A small study that was never run, written once for all tests of its analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from synthetic_runs import write_study

from observer.analysis.results import document, read_study

if TYPE_CHECKING:
    from pathlib import Path

    from observer.analysis.document import Document
    from observer.analysis.results import Study

DESIGNS = (
    *("sleeping", "scanning", "none", "vm-per-vm", "polling-100ms", "watchdog-30s"),
    "pvpanic",
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of seven designs, and of all other experiments."""
    root = tmp_path_factory.mktemp("study")
    write_study(root, 3, DESIGNS)
    return root


@pytest.fixture(scope="session")
def study(folder: Path) -> Study:
    return read_study([folder])


@pytest.fixture(scope="session")
def results(study: Study) -> Document:
    return document(study)
