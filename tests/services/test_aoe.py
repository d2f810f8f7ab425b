# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.services.aoe import device_of, let_go


@pytest.mark.parametrize(
    ("words", "device"),
    [
        ("aoe.shelf=3 aoe.slot=7 mtu=9000", "e3.7"),
        ("faults=on quiet", "e0.0"),
        ("", "e0.0"),
    ],
)
def test_a_disk_is_called_by_shelf_and_slot(words: str, device: str) -> None:
    """As the words say, which the image reads too."""
    assert device_of(words) == device


def test_a_disk_in_use_is_not_let_go(tmp_path: Path) -> None:
    """It is asked for, and stays."""
    assert let_go("e0.0", tmp_path)
    assert not (tmp_path / "flush").exists()
    (tmp_path / "e0.0").touch()

    assert not let_go("e0.0", tmp_path)
    assert (tmp_path / "flush").read_text() == "e0.0"
