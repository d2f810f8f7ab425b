# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.errors import ProgramError
from observer.experiment.recorded import recorded

if TYPE_CHECKING:
    from pathlib import Path


def test_a_recorder_that_cannot_begin_is_told_with_its_words(tmp_path: Path) -> None:
    """No daemon is here whose books it could read; and nothing is left."""
    file = tmp_path / "recording.parquet"
    with (
        pytest.raises(ProgramError, match=r"`observer record` ended: .*\w{4}"),
        recorded(file, tmp_path / "log"),
    ):
        pytest.fail("it has begun")

    assert [path.name for path in tmp_path.iterdir()] == ["log"]
