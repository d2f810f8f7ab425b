# SPDX-License-Identifier: Apache-2.0
"""A design as the study runs it: a program of its own, heard."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from observer.demo.voice import ARMED, Voice, heard
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

ARMED_SECONDS = 60.0


@pytest.fixture
def design(tmp_path: Path) -> Callable[..., AbstractContextManager[Voice]]:
    """Run `experiments/PLACE OPTIONS` while the block does; armed when that begins."""

    def running(place: str, *options: str) -> AbstractContextManager[Voice]:
        argv = [sys.executable, str(checkout() / "experiments" / place), *options]
        return heard(argv, tmp_path / "notes", ARMED, ARMED_SECONDS)

    return running
