# SPDX-License-Identifier: Apache-2.0
"""What the tests in the nested host share: an armed observer, a stage for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from observer.demo.run import Stage
from observer.demo.voice import observer_running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observer.demo.voice import Voice
    from observer.guests.images import GuestImage


@pytest.fixture
def voice(tmp_path: Path) -> Iterator[Voice]:
    """A daemon of its own for a test; what it noted is shown when the test fails."""
    notes = tmp_path / "observer.log"
    with observer_running(notes) as running:
        yield running
    sys.stdout.write(notes.read_text())


@pytest.fixture
def stage(voice: Voice, image: GuestImage) -> Iterator[Stage]:
    """Guests beside that daemon."""
    standing = Stage(voice, image, "sleeping")
    yield standing
    standing.close()
