# SPDX-License-Identifier: Apache-2.0
"""Services that are kept without what ours do for frames: none waits, none is saved."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from observer.errors import ObserverError
from observer.experiment.comparator import say_outcome
from observer.model import Result, StepKind, VerdictKind
from observer.services.folder import RUNTIME
from observer.services.images import images_file, placed_images, read_images
from observer.services.kept_vm import kept_service
from observer.services.parking import Parking

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from observer.services.kept_vm import KeptVm

__all__ = ["begin_anew", "switch_anew", "unparked"]


class NoParking(Parking):
    """Drops all that comes while nobody is there, as where a tap goes with its VM.

    Ours outlive their VM, and alone would keep thousands of frames for the next one.
    """

    def _set(self, state: str) -> None:
        for link in self._links:
            self._ip.link("set", index=link, state=state)

    def hold(self) -> None:
        """From now on nothing gets to the taps."""
        self._set("down")

    def settle(self) -> None:
        """Nothing is waited for."""

    def empty_taps(self) -> None:
        """What is in them is lost."""
        super().empty_taps()
        self._frames.clear()

    def release(self) -> None:
        """Somebody is there."""
        self._set("up")


def unparked(service: str, *, spare: bool = False) -> AbstractContextManager[KeptVm]:
    """Keep a service so while the block runs."""
    spec = msgspec.structs.replace(read_images(images_file())[service], spare=spare)
    return kept_service(service, spec, RUNTIME, placed_images(), NoParking)


def begin_anew(service: str, vm: KeptVm, result: Result, why: str) -> None:
    """The next life, on fresh memory; said when it is up."""
    began_ns = time.monotonic_ns()
    vm.end()
    vm.forget()
    with suppress(ObserverError):  # broken as it came up: it says nothing
        vm.start()
        step, kind = StepKind.RESTART_SERVICE, VerdictKind.SERVICE_HUNG
        say_outcome(service, kind, step, began_ns=began_ns, why=why, result=result)


def switch_anew(vm: KeptVm) -> None:
    """Let the standby serve; what the one before it had in hand is gone."""
    vm.forget()
    vm.switch()
