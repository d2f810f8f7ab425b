# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.services.aoe import device_of, is_known


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


def test_a_disk_is_known_while_it_has_a_node(tmp_path: Path) -> None:
    """The kernel makes it when it has found the disk."""
    assert not is_known("e0.0", tmp_path)
    (tmp_path / "e0.0").touch()
    assert is_known("e0.0", tmp_path)
