# SPDX-License-Identifier: Apache-2.0
"""What tests of real guests share, on whatever they stand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from observer.demo.place import guest_image_folder
from observer.guests.images import build_image
from observer.testbed.kernel import fetch
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from observer.guests.images import GuestImage


@pytest.fixture(scope="session")
def image() -> GuestImage:
    """Build what a Linux guest boots from, or find it built."""
    kernel = fetch("debian-12", checkout() / "build/testbed", sys.stderr.write)
    return build_image(kernel, guest_image_folder())
