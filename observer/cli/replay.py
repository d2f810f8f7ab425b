# SPDX-License-Identifier: Apache-2.0
"""`observer record|replay`: how late a host's debts were, judged by other limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from observer.cli.output import Output, output_option, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from observer.config import Limits
    from observer.replay.event import Debt

__all__ = ["record", "replay"]

MOST_LATE = 20
config_option = click.option(
    "--config", type=click.Path(path_type=Path), help="Policy in TOML."
)


def _limits_ns(limits: Limits) -> dict[Debt, int]:
    from observer.replay.event import Debt

    return {debt: int(getattr(limits, debt.name.lower())) for debt in Debt}


def _names(socket: Path, pids: Callable[[], dict[int, int]]) -> dict[int, str]:
    """Slot -> name, of the VMs that the daemon beside us knows."""
    from observer.export.client import ask

    status = ask(socket, do="status")
    by_pid = {int(vm["pid"]): str(vm["name"]) for vm in status["vms"]}
    return {slot: by_pid[pid] for pid, slot in pids().items() if pid in by_pid}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--for", "duration", metavar="TIME", help='E.g. "10m"; else to Ctrl-C.')
@config_option
def record(file: Path, duration: str | None, config: Path | None) -> None:
    """Keep in FILE how every debt of this host is opened and paid.

    Runs beside `observer run`, and costs an event for each exit and each kick.
    """
    import signal
    import threading

    from observer.clock import SECOND
    from observer.config import duration_ns, load
    from observer.daemon import OBJECTS, check_host
    from observer.kernel.libbpf import Libbpf
    from observer.replay.recorder import record as keep
    from observer.replay.recorder import recorder
    from observer.replay.recording import RecordingWriter

    try:
        seconds = duration_ns(duration) / SECOND if duration else float("inf")
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="--for") from e
    check_host()
    policy, over = load(config), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: over.set())
    socket = Path(policy.paths.runtime) / "socket"
    limits = {d.name.lower(): ns for d, ns in _limits_ns(policy.limits).items()}
    with (
        recorder(
            Libbpf(), OBJECTS / "record.bpf.o", Path(policy.paths.bpffs)
        ) as programs,
        RecordingWriter(file) as writer,
    ):
        facts = keep(
            programs,
            writer,
            lambda so_far: over.is_set() or so_far >= seconds,
            lambda: _names(socket, programs.vmms),
            limits,
            pause=over.wait,
        )
    click.echo(f"{file}: {facts.seconds:g} s, {facts.lost} events lost")


def _given(limits: Sequence[str]) -> dict[Debt, int]:
    from observer.config import duration_ns
    from observer.replay.event import Debt

    found = {}
    for text in limits:
        name, _, duration = text.partition("=")
        try:
            found[Debt[name.upper()]] = duration_ns(duration)
        except KeyError as e:
            names = ", ".join(debt.name.lower() for debt in Debt)
            raise click.BadParameter(
                f"{name} is none of {names}", param_hint="--limit"
            ) from e
        except ValueError as e:
            raise click.BadParameter(str(e), param_hint="--limit") from e
    return found


def _print(rows: Sequence[msgspec.Struct], output: Output) -> None:
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    elif output == "jsonl":
        for row in rows:
            click.echo(msgspec.json.encode(row).decode())
    elif rows:
        names = rows[0].__struct_fields__
        columns = [name.replace("_", " ").upper() for name in names]
        print_table(
            columns, [[str(getattr(row, name)) for name in names] for row in rows]
        )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--limit", "limits", multiple=True, metavar="NAME=TIME")
@click.option("--curve", "is_curve", is_flag=True, help="What other limits would cost.")
@config_option
@output_option
def replay(
    file: Path,
    limits: tuple[str, ...],
    config: Path | None,
    output: Output,
    *,
    is_curve: bool,
) -> None:
    """Judge the debts in FILE again, by the policy's limits or by others.

    NAME is vcpu, backend, called or service, as in [limits] of the policy.
    """
    from observer.config import load
    from observer.replay.recording import read_recording
    from observer.replay.tradeoff import curve, judge_again

    wanted = _limits_ns(load(config).limits) | _given(limits)
    events, facts = read_recording(file)
    if is_curve:
        _print(curve(events, facts), output)
        return
    kinds, late = judge_again(events, facts, wanted)
    _print(kinds, output)
    if output == "table":
        _print(late[:MOST_LATE], output)
        if len(late) > MOST_LATE:
            click.echo(f"and {len(late) - MOST_LATE} more; all with -o json")
    if facts.lost:
        click.echo(f"{facts.lost} events were lost: ages may be too large", err=True)
