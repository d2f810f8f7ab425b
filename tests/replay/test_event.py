# SPDX-License-Identifier: Apache-2.0
"""What an event says is the same in C and here; its layout is held against BTF."""

from __future__ import annotations

import re

import pytest

from observer.replay.event import EVENTS_BYTES, Debt, What
from observer.testbed.nested import checkout

HEADER = (checkout() / "bpf/events.h").read_text()


@pytest.mark.parametrize(("ours", "prefix"), [(Debt, "DEBT_"), (What, "EVENT_")])
def test_words_have_the_numbers_of_the_header(
    ours: type[Debt | What], prefix: str
) -> None:
    """All of them, and no others."""
    found = re.findall(rf"^\t{prefix}(\w+) = (\d+)", HEADER, re.MULTILINE)
    assert {name: int(number) for name, number in found} == dict(ours.__members__)


def test_the_ring_is_as_large_as_the_header_says() -> None:
    """It is mapped by its size."""
    (size,) = re.findall(r"^#define EVENTS_BYTES (\d+)", HEADER, re.MULTILINE)
    assert int(size) == EVENTS_BYTES
