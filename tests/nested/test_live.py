# SPDX-License-Identifier: Apache-2.0
"""Every fault and every silent case of the demo, on the kernel that we are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from observer.demo.cases import FAULTS, SILENT, guests_of

if TYPE_CHECKING:
    from observer.demo.run import Stage

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("name", "vcpus"), guests_of(FAULTS).items())
def test_a_guest_lives_through_its_cases(stage: Stage, name: str, vcpus: int) -> None:
    """Silence where nothing is wrong; the right verdict where something is."""
    rows = [stage.boot(name, vcpus)]
    rows += [stage.silent(c) for c in SILENT[1:] if c.guest == name]
    rows += [stage.fault(c) for c in FAULTS if c.guest == name]

    wrong = [r for r in rows if r.detected != (r.expected != "no verdict")]
    assert not wrong
