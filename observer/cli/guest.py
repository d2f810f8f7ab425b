# SPDX-License-Identifier: Apache-2.0
"""`observer guest`: Linux guests to watch and to break."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

import click

from observer.cli.output import print_table
from observer.errors import HostError

if TYPE_CHECKING:
    from types import FrameType

    from observer.guests.images import GuestImage

__all__ = ["guest"]


def _say(progress: str) -> None:
    click.echo(f"observer: {progress}", err=True)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _image() -> GuestImage:
    from observer.guests.images import build_image
    from observer.testbed.kernel import fetch
    from observer.testbed.nested import checkout

    build = checkout() / "build"
    return build_image(fetch("debian-12", build / "testbed", _say), build / "guests")


@click.group()
def guest() -> None:
    """Start Linux guests to break, and end them."""


@guest.command()
def build() -> None:
    """Build what the guests boot from; does nothing where it is up to date."""
    click.echo(_image().initrd)


@guest.command()
@click.argument("name")
@click.option("--vcpus", type=click.IntRange(1), default=1, show_default=True)
@click.option("--memory", type=click.IntRange(96), default=128, show_default=True)
def up(name: str, vcpus: int, memory: int) -> None:
    """Start the guest NAME and keep it until Ctrl-C, `guest down`, or its end.

    It has its network by vhost-net and its disk by vhost-user-blk.
    """
    from observer.guests.guest import free_subnet
    from observer.guests.launch import GuestSpec
    from observer.guests.linux import linux_guest

    if os.geteuid() != 0:
        raise HostError("Guests need root for their network: use sudo.")
    signal.signal(signal.SIGTERM, _end)
    spec = GuestSpec(name, free_subnet(), vcpus, memory)
    with linux_guest(spec, _image()) as started:
        click.echo(f"{name} is up: process {started.pid}, QMP {started.files.qmp}")
        with started.pidfd(started.pid) as held:
            select.select([held], [], [])
    _say(f"{name} has ended.")


@guest.command()
@click.argument("name")
def down(name: str) -> None:
    """End the guest NAME at once; whoever started it clears it away."""
    from observer.guests.guest import find_guest

    found = find_guest(name)
    with found.pidfd(found.pid) as held:
        signal.pidfd_send_signal(held, signal.SIGKILL)


@guest.command("list")
def list_guests() -> None:
    """Show the guests that are up."""
    from observer.guests.guest import find_guest, guest_names

    guests = [find_guest(name) for name in guest_names()]
    rows = [
        (g.name, str(g.pid), str(g.spec.vcpus), g.tap, str(g.files.qmp)) for g in guests
    ]
    print_table(("NAME", "PID", "VCPUS", "TAP", "QMP"), rows)
