# SPDX-License-Identifier: Apache-2.0
"""Breaks the observer itself, wherever it lives: all of it, and nothing else."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from observer.experiment.cost import family_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from observer.demo.voice import Voice
    from observer.experiment.observers import Inside
    from observer.guests.guest import Guest

__all__ = ["CRASH", "STOP", "broken_in_guests", "broken_on_host"]

CRASH, STOP = "observer-crash", "observer-stop"


@contextmanager
def broken_on_host(fault: str, voice: Voice) -> Iterator[None]:
    """Stop all processes of a design while the block does, or kill them for good.

    VMs of its own are among them.
    """
    with ExitStack() as held:
        its = [_held(held, pid) for pid in family_of(voice.pid)]
        if fault == STOP:
            held.callback(_send_all, its, signal.SIGCONT)
            _send_all(its, signal.SIGSTOP)
        else:
            _send_all(its, signal.SIGKILL)
            voice.kill()  # it is our child: somebody has to hear of its end
        yield


def _held(held: ExitStack, pid: int) -> int:
    pidfd = os.pidfd_open(pid)
    held.callback(os.close, pidfd)
    return pidfd


def _send_all(pidfds: Sequence[int], number: signal.Signals) -> None:
    for pidfd in pidfds:
        with suppress(ProcessLookupError):  # it went with its parent
            signal.pidfd_send_signal(pidfd, number)


@contextmanager
def broken_in_guests(
    fault: str, inside: Inside, guests: Sequence[Guest]
) -> Iterator[None]:
    """Likewise an observer that lives in its guests; who hears it goes on."""
    number = inside.stop if fault == STOP else inside.crash
    for guest in guests:
        guest.order(f"signal {number} {inside.program}")
    try:
        yield
    finally:
        if fault == STOP and inside.go_on:
            for guest in guests:
                guest.order(f"signal {inside.go_on} {inside.program}")
