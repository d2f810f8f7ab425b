# SPDX-License-Identifier: Apache-2.0
"""Where in a guest that runs which is started there before it is up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.programs import with_programs

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.images import GuestImage

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.newest]

START = "grep Cpus_allowed_list /proc/self/status /proc/1/status >/dev/ttyS0\n"
SPEC = GuestSpec("start1", subnet=79, vcpus=2)


def test_what_a_guest_starts_runs_on_any_cpu(image: GuestImage, tmp_path: Path) -> None:
    """Only who obeys orders keeps to the CPU that no fault takes."""
    with linux_guest(SPEC, with_programs(image, (), START, tmp_path)) as guest:
        said = guest.console()

    allowed = dict(re.findall(r"/proc/(\w+)/status:Cpus_allowed_list:\s+(\S+)", said))
    assert allowed == {"self": "0-1", "1": "0"}
