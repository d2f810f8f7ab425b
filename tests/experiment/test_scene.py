# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.experiment.scene import images_text
from observer.services.images import images_file, read_images

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("spare", [False, True])
def test_services_are_those_that_came_but_may_be_broken(
    tmp_path: Path, *, spare: bool
) -> None:
    """On a disk that is nobody's; with a spare where a design wants one."""
    came = images_file(tmp_path).read_text()
    file = tmp_path / "images.toml"
    file.write_text(images_text(came, tmp_path / "disk.img", spare=spare))

    specs = read_images(file)

    assert "faults=on" in specs["net"].words
    assert "faults=on" in specs["disk"].words
    assert specs["disk"].disk == str(tmp_path / "disk.img")
    assert [spec.spare for spec in specs.values()] == [spare, spare]
