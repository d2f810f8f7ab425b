# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.services.aoe import held_links, target_of


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("aoe.shelf=3 aoe.slot=7 mtu=9000", (3, 7)),
        ("aoe.shelf=0x1f aoe.slot=010", (31, 10)),
        ("aoe.shelf=3 aoe.shelf=4", (3, 0)),
        ("faults=on quiet", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_a_disk_has_a_shelf_and_a_slot(words: str, target: tuple[int, int]) -> None:
    """As the image reads its words: the first of two, in decimal or by 0x."""
    assert target_of(words) == target


def test_an_address_is_a_number() -> None:
    """Anything else is the caller's to name."""
    with pytest.raises(ValueError, match="rack"):
        target_of("aoe.shelf=rack")


def test_links_of_all_disks_are_held(tmp_path: Path) -> None:
    """As the kernel's aoeblk.c shows them, one line for each disk."""
    for name, links in (("etherd!e0.0", "a,b\n"), ("etherd!e1.0", "b\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "netif").write_text(links)
    (tmp_path / "sda").mkdir()

    assert held_links(tmp_path) == {"a", "b"}
