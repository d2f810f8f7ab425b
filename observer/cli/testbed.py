# SPDX-License-Identifier: Apache-2.0
"""`observer testbed`: nested KVM hosts on any machine."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from observer.testbed.emulator import emulator
from observer.testbed.kernel import KERNELS, fetch
from observer.testbed.nested import Command, Spec, checkout, run_nested
from observer.testbed.session import Limits
from observer.testbed.unpacked import nginx

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["testbed"]

_KERNEL = click.Choice(list(KERNELS))


def _say(progress: str) -> None:
    click.echo(f"observer: {progress}", err=True)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@click.group()
def testbed() -> None:
    """Run commands in a nested KVM host, on any machine, without root."""


@testbed.command(context_settings={"allow_interspersed_args": False})
@click.option("--kernel", type=_KERNEL, default="debian-12", show_default=True)
@click.option("--cpus", type=click.IntRange(1), default=2, show_default=True)
@click.option("--memory", default="6G", show_default=True, help="As QEMU takes it.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=Limits.total_s,
    show_default=True,
    help="Seconds for all of it; then the exit status is 124.",
)
@click.option(
    "--boot-timeout",
    type=click.FloatRange(0, min_open=True),
    default=Limits.boot_s,
    show_default=True,
    help="Seconds for the nested host to come up.",
)
@click.option("--no-vhost", is_flag=True, help="Leave vhost_net to be loaded later.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(
    context: click.Context,
    *,
    kernel: str,
    cpus: int,
    memory: str,
    timeout: float,
    boot_timeout: float,
    no_vhost: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND as root in a nested KVM host with this checkout.

    The exit status is COMMAND's (128 + N if signal N ended it), 122 if the emulator
    failed, 123 if the nested kernel complained about itself, 124 after the timeout,
    125 if the nested host did not come up or broke. COMMAND reads no input, and what
    it changes outside of the checkout is lost. Where the emulator fails, COMMAND is
    started again, three times in all at most.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    limits = Limits(boot_timeout, timeout)
    spec = Spec(kernel, cpus, memory, not no_vhost, limits)
    done = run_nested(spec, Command(command), checkout(), _say)
    context.exit(done.exit_code)


@testbed.command("fetch")
@click.option("--kernel", type=_KERNEL, multiple=True, default=list(KERNELS))
def fetch_kernels(kernel: tuple[str, ...]) -> None:
    """Download and unpack kernels, emulator and what guests run beside.

    Does nothing where they are there.
    """
    click.echo(emulator(checkout() / "build/testbed", _say))
    click.echo(nginx(checkout() / "build/testbed", _say))
    for name in kernel:
        found = fetch(name, checkout() / "build/testbed", _say)
        click.echo(f"{name} {found.release} {found.root}")


if __name__ == "__main__":
    from observer.cli.group import VerbGroup

    VerbGroup({"testbed": f"{testbed.callback.__module__}:testbed"}).main()
