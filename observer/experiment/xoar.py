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
from contextlib import suppress

from observer.errors import ObserverError
from observer.experiment.caretaker import ends_on_sigterm, say_outcome, say_ready
from observer.model import StepKind, VerdictKind
from observer.services.folder import RUNTIME
from observer.services.images import images_file, placed_images, read_images
from observer.services.keeper import KeptVm, kept_service
from observer.services.parking import Parking

__all__ = ["NoParking"]

PERIOD_SECONDS = 5.0
SERVICE = "net"


class NoParking(Parking):
    """Frames go where they go."""

    def hold(self) -> None:
        """Nothing waits."""

    def settle(self) -> None:
        """Nor is anything waited for."""

    def empty_taps(self) -> None:
        """What is in them is QEMU's, which throws it away."""

    def release(self) -> None:
        """There is nothing to let go."""


def _refresh(vm: KeptVm) -> None:
    began_ns = time.monotonic_ns()
    vm.end()
    vm.forget()
    with suppress(ObserverError):  # broken as it came up: the next time will do
        vm.start()
        step, why = StepKind.RESTART_SERVICE, "its period was over"
        say_outcome(SERVICE, VerdictKind.SERVICE_HUNG, step, began_ns, why)


def main() -> None:
    """Keep the service until SIGTERM."""
    ends_on_sigterm()
    spec = read_images(images_file())[SERVICE]
    with kept_service(SERVICE, spec, RUNTIME, placed_images(), NoParking) as vm:
        say_ready()
        due = time.monotonic()
        while True:
            due = max(due + PERIOD_SECONDS, time.monotonic())
            time.sleep(due - time.monotonic())
            _refresh(vm)


if __name__ == "__main__":
    main()
