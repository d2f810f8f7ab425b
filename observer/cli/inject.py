# SPDX-License-Identifier: Apache-2.0
"""`observer inject`: break a test guest on purpose."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from observer.inject.faults import GUEST_FAULTS

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["inject"]


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@click.command()
@click.argument("fault", type=click.Choice(list(GUEST_FAULTS)))
@click.argument("subject")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="How long a fault that can be undone lasts.",
)
def inject(fault: str, subject: str, dry_run: bool, seconds: float) -> None:
    """Break the test guest SUBJECT by FAULT and say when it took effect.

    Only guests that `observer guest up` started can be broken. What can be undone is
    undone after a while or on Ctrl-C: stopped processes go on, loads end.
    """
    from observer.guests.guest import find_guest
    from observer.inject.injection import inject as begin

    guest = find_guest(subject)
    if dry_run:
        click.echo(f"would: {GUEST_FAULTS[fault].planned(guest)}")
        return
    signal.signal(signal.SIGTERM, _end)
    with begin(fault, guest, GUEST_FAULTS) as injection:
        click.echo(f"{fault} took effect at {injection.effect_ns} ns (CLOCK_MONOTONIC)")
        if injection.passing:
            threading.Event().wait(seconds)
