# SPDX-License-Identifier: Apache-2.0
"""What tests of real guests and of real children share."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from observer.demo.place import guest_image_folder
from observer.guests.images import build_image
from observer.testbed.kernel import fetch
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.images import GuestImage

_LATE = """#!/bin/sh
parent=$PPID
echo $$ > {folder}/new
mv {folder}/new {folder}/pid
while test -e /proc/$parent; do sleep 0.01; done
exec {setpriv} "$@"
"""


@pytest.fixture(scope="session")
def image() -> GuestImage:
    """Build what a Linux guest boots from, or find it built."""
    kernel = fetch("debian-12", checkout() / "build/testbed", sys.stderr.write)
    return build_image(kernel, guest_image_folder())


@dataclass(frozen=True)
class LateSetpriv:
    """A setpriv that asks for its parent's death only when that has died."""

    env: dict[str, str]
    """In which it is the one that is found."""
    pid: Path
    """Which process it is, from when it runs."""


@pytest.fixture
def late_setpriv(tmp_path: Path) -> LateSetpriv:
    """Stretch the moment in which the kernel is too late to tell of an end."""
    folder = tmp_path / "late"
    folder.mkdir()
    script = folder / "setpriv"
    script.write_text(_LATE.format(folder=folder, setpriv=shutil.which("setpriv")))
    script.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return LateSetpriv({**os.environ, "PATH": path}, folder / "pid")
