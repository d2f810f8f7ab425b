# SPDX-License-Identifier: Apache-2.0
"""`observer service`: the host's service VMs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from observer.cli.output import print_table
from observer.errors import DeadlineError, HostError, ProgramError, UsageError
from observer.services.folder import RUNTIME, service_folder

if TYPE_CHECKING:
    from observer.services.record import Record

__all__ = ["service"]

DOWN_SECONDS = 10.0
RESTART_SECONDS = 60.0


def _record_of(name: str) -> Record | None:
    """The record of a service whose keeper lives; it boots while that has no pid."""
    from observer.guests.folder import is_kept
    from observer.services.record import read_record

    folder = service_folder(RUNTIME, name)
    if folder is None or not is_kept(folder.path):
        return None
    return read_record(folder)


def _runs(record: Record | None) -> bool:
    """Whether its VM does: a keeper outlives it."""
    return record is not None and Path(f"/proc/{record.pid}/root").exists()


def _started() -> set[str]:
    """Services that were started, and not ended, whatever images.toml says by now."""
    return {path.name for path in RUNTIME.iterdir()} if RUNTIME.exists() else set()


def _clear_away(name: str) -> None:
    """Remove what is left of one that ended: after a crash, or held when it did."""
    from observer.guests.folder import runtime_folder
    from observer.services.images import images_file, read_images
    from observer.services.links import remove_empty_bridges
    from observer.services.record import read_record

    folder = service_folder(RUNTIME, name)
    record = read_record(folder) if folder else None
    if folder is not None and record is not None:
        with runtime_folder(folder.path):  # it removes the folder
            remove_empty_bridges(record.spec.ports)
        return
    if (spec := read_images(images_file()).get(name)) is None:
        raise UsageError(f"There is no service {name}: see `observer service status`.")
    remove_empty_bridges(spec.ports)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise HostError("Service VMs need root for KVM and their network: use sudo.")


@click.group()
def service() -> None:
    """Start and end the service VMs that images.toml names."""


def _start(name: str) -> None:
    from observer.services.images import placed_images
    from observer.services.record import READY

    argv = [sys.executable, "-m", "observer.services.keeper"]
    keeper = subprocess.Popen(
        [*argv, str(RUNTIME), str(placed_images()), name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    if keeper.stdout is None:
        raise AssertionError("it was opened as a pipe")
    said = keeper.stdout.readline().strip()
    if said != READY:
        why = said or f"The keeper of {name} ended without a word: try again."
        raise (UsageError if keeper.wait() == UsageError.exit_code else ProgramError)(
            why
        )


@service.command()
@click.argument("names", nargs=-1, required=True)
def up(names: tuple[str, ...]) -> None:
    """Start the services NAMES; those that are up already are left alone."""
    _need_root()
    for name in names:
        if not _runs(record := _record_of(name)):
            if record is not None and record.pid is None:
                raise ProgramError(
                    f"{name} is being started by process {record.keeper}: try again "
                    f"when that is done, or end it (observer service down {name})."
                )
            if record is not None:
                _end(record)
            _start(name)
            record = _record_of(name)
        if record is None:
            raise ProgramError(f"{name} ended as soon as it was up.")
        click.echo(f"{name} is up: process {record.pid}")


def _end(record: Record) -> None:
    """End a keeper, and its VM with it."""
    try:
        keeper = os.pidfd_open(record.keeper)
    except ProcessLookupError:
        return  # somebody else was first
    try:
        now = _record_of(record.name)
        if now is None or now.keeper != record.keeper:  # the number may be another's
            return
        signal.pidfd_send_signal(keeper, signal.SIGTERM)
        if not select.select([keeper], [], [], DOWN_SECONDS)[0]:
            raise DeadlineError(
                f"The keeper of {record.name}, process {record.keeper}, did not end in "
                f"{DOWN_SECONDS:.0f} s: kill it, then run `observer service up` or "
                "`down` again."
            )
    finally:
        os.close(keeper)


@service.command()
@click.argument("names", nargs=-1, required=True)
def down(names: tuple[str, ...]) -> None:
    """End the services NAMES; those that are not up are left alone."""
    _need_root()
    for name in names:
        if (record := _record_of(name)) is None:
            _clear_away(name)
            click.echo(f"{name} is not up")
            continue
        _end(record)
        click.echo(f"{name} is down")


def _replace(names: tuple[str, ...], order_: str) -> None:
    """Have another life take the place of each, by this order to its keeper."""
    import asyncio

    from observer.services.control import order

    _need_root()
    for name in names:
        folder = service_folder(RUNTIME, name)
        record = _record_of(name)
        if folder is None or record is None or record.pid is None:
            raise UsageError(
                f"{name} is not up: start it (observer service up {name})."
            )
        line = f"{order_} {record.pid}"
        asyncio.run(order(folder.keeper, line, RESTART_SECONDS))
        record = _record_of(name)
        click.echo(f"{name} is up: process {record.pid if record else '-'}")


@service.command()
@click.argument("names", nargs=-1, required=True)
def restart(names: tuple[str, ...]) -> None:
    """Start the services NAMES again on what they had in hand; no frame is lost."""
    _replace(names, "restart")


@service.command()
@click.argument("names", nargs=-1, required=True)
def switch(names: tuple[str, ...]) -> None:
    """Let the spares of the services NAMES serve in their place; no frame is lost."""
    _replace(names, "switch")


def _state_of(record: Record | None) -> str:
    if record is None:
        return "down"
    if record.pid is None:
        return "starting"
    return "up" if _runs(record) else "crashed"


@service.command()
def status() -> None:
    """Show the services of this host."""
    from observer.services.images import images_file, read_images

    _need_root()
    records = {name: r for name in sorted(_started()) if (r := _record_of(name))}
    specs = read_images(images_file()) | {n: r.spec for n, r in records.items()}
    rows = []
    for name, spec in specs.items():
        record = records.get(name)
        ports = ", ".join(f"{port.tap} in {port.bridge}" for port in spec.ports)
        pid = str(record.pid) if record and _runs(record) else "-"
        spare = str(record.spare) if record and record.spare else "-"
        memory = f"{spec.memory_mib} MiB"
        rows.append((name, _state_of(record), pid, spare, memory, ports))
    print_table(("NAME", "STATE", "PID", "SPARE", "MEMORY", "PORTS"), rows)
