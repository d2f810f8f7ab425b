# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

from observer.experiment.arrivals import Arrival
from observer.experiment.guest_load import parse_seen


def test_what_the_guest_saw_is_told_in_the_hosts_time() -> None:
    """Its clock was 900 ns behind ours."""
    said = struct.pack("=QQ", 100, 3)
    for kind, number, ns in ((0, 7, 40), (1, 3, 50), (2, 4, 60)):
        said += struct.pack("=IIQ", kind, number, ns)

    seen = parse_seen(said, 1000)

    assert seen.took == [Arrival(7, 940)]
    assert seen.wrote == [Arrival(3, 950)]
    assert (seen.io_errors, seen.wrong_blocks, seen.broken_streams) == (1, 0, 0)
