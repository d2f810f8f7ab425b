# SPDX-License-Identifier: Apache-2.0
"""Xoar (Colp et al., SOSP 2011), rebuilt: service VMs are restarted all the time.

It detects nothing: each driver domain is restarted after a period, well or not, and
what it had in hand is gone.  Phoenix (DSN 2020) compares with periods of 1 s and of
5 s; at 1 s a service whose start takes that long would never serve, so it is 5 s here:
of the two the one that costs less.

The service is kept by the same code as ours, but on fresh memory and without parking.
"""

from __future__ import annotations

import time

from observer.experiment.comparator import ends_on_sigterm, say_ready
from observer.experiment.unparked import begin_anew, unparked
from observer.model import Result

__all__: list[str] = []

PERIOD_SECONDS = 5.0
SERVICE = "net"


def main() -> None:
    """Keep the service until SIGTERM."""
    ends_on_sigterm()
    with unparked(SERVICE) as vm:
        say_ready()
        due = time.monotonic()
        while True:
            due = max(due + PERIOD_SECONDS, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            begin_anew(SERVICE, vm, Result.REPAIRED, "its period was over")


if __name__ == "__main__":
    main()
