# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

from observer.experiment.event_trace import US, TracePipe
from observer.experiment.frames import Frames

# As two CPUs write them into a trace of 6.1, each by itself.
TRACED = (
    "    vhost-2733-2739    [001] b.s2.    37.647431: netif_receive_skb:"
    " dev=obs-web1 skbaddr=00000000a3f1b6c2 len=1442\n"
    "    vhost-2733-2739    [000] b.s2.    37.647429: netif_receive_skb:"
    " dev=obs-web1 skbaddr=00000000a3f1b6c2 len=1442\n"
)


def test_frames_are_told_in_the_order_in_which_they_passed() -> None:
    """Those that were told before are still told."""
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    found = Frames(TracePipe(ours))
    os.write(theirs, TRACED.encode())
    first = list(found.passed_ns())
    os.write(theirs, TRACED.replace("37.", "38.").encode())
    both = found.passed_ns()
    os.close(ours)
    os.close(theirs)

    assert first == [37_647_429 * US, 37_647_431 * US]
    assert both == [*first, 38_647_429 * US, 38_647_431 * US]
