# SPDX-License-Identifier: Apache-2.0
"""What operators do to healthy guests, and no observer may take for a failure."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.guests.guest import free_subnet
from observer.guests.linux import starting_guest, wait_for_guest
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from contextlib import ExitStack

    from observer.guests.guest import Guest

__all__ = ["boot", "pause", "snapshot"]

SAVE_SECONDS = 120.0


def pause(guest: Guest, stack: ExitStack) -> int:
    """Stop the guest by its monitor until undone."""
    stack.callback(guest.qmp, ("cont", {}))
    effect_ns = time.monotonic_ns()
    guest.qmp(("stop", {}))
    return effect_ns


def boot(guest: Guest, stack: ExitStack) -> int:
    """Boot another guest like this one."""
    name = f"{guest.name}-2"
    spec = replace(guest.spec, name=name, subnet=free_subnet(guest.files.folder.parent))
    effect_ns = time.monotonic_ns()
    fresh = stack.enter_context(
        starting_guest(spec, guest.image, guest.files.folder.parent)
    )
    wait_for_guest(fresh)
    return effect_ns


def _saved(guest: Guest) -> bool:
    (progress,) = guest.qmp(("query-migrate", {}))
    if progress["status"] == "failed":
        raise ProgramError(f"{guest.name} could not be saved: {progress}.")
    return bool(progress["status"] == "completed")


def _go_on(guest: Guest) -> None:
    wait_until(lambda: _saved(guest), SAVE_SECONDS, f"{guest.name} was saved")
    guest.qmp(("cont", {}))


def snapshot(guest: Guest, stack: ExitStack) -> int:
    """Save the guest's whole state to a file, as a backup tool does, and go on.

    A snapshot inside of the disk image is no choice where the disk has a back end of
    its own; a migration to a file is what libvirt's `save` and `snapshot` do then.
    """
    state = guest.files.folder / "state"
    effect_ns = time.monotonic_ns()
    guest.qmp(("stop", {}), ("migrate", {"uri": f"exec:cat >{state}"}))
    stack.callback(_go_on, guest)
    return effect_ns
