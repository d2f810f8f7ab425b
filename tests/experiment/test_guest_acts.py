# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from observer.experiment.event_trace import US, TracePipe
from observer.experiment.guest_acts import GuestActs

if TYPE_CHECKING:
    from collections.abc import Iterator

# As two vCPUs' last acts stand in a trace of 6.1.
TRACED = "".join(
    f"{head}: kvm_pio: pio_write at 0x2f8 size 1 count 1 val 0xa \n"
    for head in (
        " qemu-system-x86-2741    [001] d..1.    37.647429",
        "       CPU 1/KVM-2742    [000] d..1.    37.647431",
    )
)
FIRST_NS, SECOND_NS = 37_647_429 * US, 37_647_431 * US


@pytest.fixture
def lines() -> Iterator[GuestActs]:
    """A trace of both."""
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    os.write(theirs, TRACED.encode())
    yield GuestActs(TracePipe(ours))
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("threads", "until_ns", "found"),
    [
        ({2741, 2742}, SECOND_NS, SECOND_NS),
        ({2741, 2742}, SECOND_NS - 1, FIRST_NS),
        ({2741}, SECOND_NS, FIRST_NS),
        ({2741}, FIRST_NS - 1, None),
        ({9}, SECOND_NS, None),
    ],
)
def test_the_effect_is_the_last_line_of_the_guest_itself(
    lines: GuestActs, threads: set[int], until_ns: int, found: int | None
) -> None:
    """Not another guest's, and none that came after it was heard."""
    assert lines.last(threads, until_ns) == found
