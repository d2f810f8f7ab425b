# SPDX-License-Identifier: Apache-2.0
r"""How much net and disk carry, beside a Linux guest that does the same.

Both are up, in turn one is paused and the other measured, so that neither pays for the
other.  iperf3 and fio are what measures.  Run it as root on a KVM host, or, so that
emulated CPUs do not compete for those of a small machine, by

    .venv/bin/observer testbed run --cpus 1 --timeout 1800 -- .venv/bin/python \
        experiments/service_throughput.py

Ends with 0 if each service carries at least as much as its peer in the median of the
rounds.  Raw samples: build/experiments/service-throughput.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from observer.demo.report import HostFacts, host_facts, write_report
from observer.errors import ObserverError
from observer.experiment.linux_peer import LINUX_BRIDGE, LINUX_VBLADE, running_peer
from observer.guests import qmp
from observer.guests.tap import tap
from observer.guests.traffic import host, ip
from observer.guests.waiting import wait_until
from observer.services.folder import RUNTIME, ServiceFolder
from observer.testbed.kernel import fetch
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.testbed.kernel import Kernel

DISK = Path("/var/lib/observer/disk.img")
DISK_MIB = 16
COMMAND_SECONDS = 300
LISTENS = f"{5201:04X} {0:032X}:0000 0A"  # iperf3's port, in /proc/net/tcp6
BLOCK_DEVICES = {"disk": "e0.0", "vblade": "e1.0"}
FIO = (
    *("fio", "--name=x", "--ioengine=libaio", "--direct=1", "--time_based"),
    *("--output-format=json", f"--size={DISK_MIB - 1}M"),
)
PATTERNS = {
    "random reads": ("--rw=randread", "--bs=4k", "--iodepth=8"),
    "random writes": ("--rw=randwrite", "--bs=4k", "--iodepth=8"),
    "long reads": ("--rw=read", "--bs=64k", "--iodepth=2"),
    "long writes": ("--rw=write", "--bs=64k", "--iodepth=2"),
}


class Sample(msgspec.Struct, frozen=True):
    """One measurement: how much of `what` was carried, in `unit`."""

    service: str
    what: str
    by: str
    round: int
    figure: float
    unit: str


class Report(msgspec.Struct, frozen=True):
    """All of a run."""

    host: HostFacts
    seconds: float
    samples: list[Sample]


@dataclass(frozen=True)
class Contender:
    """One of two that do the same work."""

    name: str
    monitor: Path


def _said(*argv: str) -> Any:
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    if done.returncode:
        raise click.ClickException(f"{argv}: {done.stdout[-400:]}{done.stderr[-400:]}")
    return json.loads(done.stdout)


def _service(*words: str) -> None:
    argv = [sys.executable, "-m", "observer", "service", *words]
    subprocess.run(argv, check=True, timeout=COMMAND_SECONDS)


@contextmanager
def _up(name: str) -> Iterator[Contender]:
    _service("up", name)
    try:
        yield Contender(name, ServiceFolder(RUNTIME / name).vm.qmp)
    finally:
        _service("down", name)


@contextmanager
def _paused(other: Contender) -> Iterator[None]:
    """It does not even beat meanwhile."""
    qmp.execute(other.monitor, ("stop", {}))
    try:
        yield
    finally:
        qmp.execute(other.monitor, ("cont", {}))


@contextmanager
def _bridged_tap(name: str, address: str, bridge: str, mtu: str) -> Iterator[str]:
    with tap(name, address):
        ip("addr", "flush", "dev", name)
        ip("link", "add", bridge, "type", "bridge")
        try:
            ip("link", "set", bridge, "mtu", mtu, "up")
            ip("link", "set", name, "mtu", mtu, "master", bridge)
            yield name
        finally:
            ip("link", "delete", bridge)


def _iperf(space: str, address: str, seconds: int, *options: str) -> dict[str, Any]:
    argv = ["ip", "netns", "exec", space, "iperf3", "-c", address, "-J"]
    said: dict[str, Any] = _said(*argv, "-t", f"{seconds}", *options)
    if "error" in said:  # which iperf3 does not always end with
        raise click.ClickException(f"iperf3 to {address}: {said['error']}")
    end: dict[str, Any] = said["end"]
    return end


@contextmanager
def _ends(
    name: str, bridges: tuple[str, str], net: str
) -> Iterator[Callable[..., Any]]:
    """Two hosts joined by a contender; what iperf3 says between them."""
    inside, outside = f"{name}-in", f"{name}-out"
    server = ("ip", "netns", "exec", inside, "iperf3", "--server")
    with (
        host(inside, bridges[0], f"{net}.1"),
        host(outside, bridges[1], f"{net}.2"),
        subprocess.Popen(server, stdout=subprocess.DEVNULL) as process,
    ):
        try:
            sockets = Path(f"/proc/{process.pid}/net/tcp6")
            wait_until(lambda: LISTENS in sockets.read_text(), 30, "iperf3 listens")
            yield lambda *given: _iperf(outside, f"{net}.1", *given)
        finally:
            process.kill()


def _net_samples(rounds: int, seconds: int, kernel: Kernel) -> Iterator[Sample]:
    with ExitStack() as stack:
        enter = stack.enter_context
        ours = enter(_up("net"))
        taps = [
            enter(_bridged_tap(f"lx{k}", f"10.123.9{k}.1", f"lx-bridge{k}", "1500"))
            for k in (0, 1)
        ]
        theirs = Contender(
            "bridge", enter(running_peer(LINUX_BRIDGE, kernel, (*taps,)))
        )
        between = {
            ours: enter(_ends("ob", ("obs-guests", "obs-uplink"), "10.7.0")),
            theirs: enter(_ends("lx", ("lx-bridge0", "lx-bridge1"), "10.8.0")),
        }
        for turn in range(rounds):
            for one, other in ((ours, theirs), (theirs, ours)):
                with _paused(other):
                    carried = between[one]
                    for what, options in (("TCP in", ()), ("TCP out", ("--reverse",))):
                        rate = carried(seconds, *options)["sum_received"]
                        figure = rate["bits_per_second"] / 1e6
                        yield Sample("net", what, one.name, turn, figure, "Mbit/s")
                    small = carried(seconds, "--udp", "-b", "0", "-l", "64")["sum"]
                    arrived = small["packets"] - small["lost_packets"]
                    figure = arrived / small["seconds"]
                    yield Sample("net", "small UDP", one.name, turn, figure, "/s")


def _disk_samples(rounds: int, seconds: int, kernel: Kernel) -> Iterator[Sample]:
    with ExitStack() as stack:
        enter = stack.enter_context
        other_disk = DISK.with_name("vblade.img")
        DISK.parent.mkdir(parents=True, exist_ok=True)
        for file in (DISK, other_disk):
            file.write_bytes(bytes(DISK_MIB << 20))
        ours = enter(_up("disk"))
        link = enter(_bridged_tap("lxd", "10.123.92.1", "lx-storage", "9000"))
        monitor = enter(running_peer(LINUX_VBLADE, kernel, (link,), other_disk))
        theirs = Contender("vblade", monitor)
        interfaces = "aoe_iflist=obs-storage,lx-storage"
        subprocess.run(["modprobe", "aoe", interfaces], check=True)
        stack.callback(subprocess.run, ["modprobe", "-r", "aoe"], check=True)
        places = {n: Path("/dev/etherd") / d for n, d in BLOCK_DEVICES.items()}
        for place in places.values():
            wait_until(place.exists, 60, f"{place} was there")
        for turn in range(rounds):
            for one, other in ((ours, theirs), (theirs, ours)):
                for what, options in PATTERNS.items():
                    with _paused(other):
                        target = f"--filename={places[one.name]}"
                        said = _said(*FIO, target, f"--runtime={seconds}", *options)
                    (job,) = said["jobs"]
                    kib = job["read"]["bw"] + job["write"]["bw"]
                    yield Sample("disk", what, one.name, turn, kib, "KiB/s")


def _ratios(samples: list[Sample]) -> Iterator[tuple[str, float, float, str]]:
    """Of each thing measured: the service's median, its peer's, and the unit."""
    for service, what in dict.fromkeys((s.service, s.what) for s in samples):
        of = [s for s in samples if (s.service, s.what) == (service, what)]
        ours, theirs = (
            statistics.median(s.figure for s in of if (s.by == service) is mine)
            for mine in (True, False)
        )
        yield f"{service}: {what}", ours, theirs, of[0].unit


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=5, show_default=True, help="Of each measurement.")
@click.option("--only", type=click.Choice(["net", "disk"]))
def main(rounds: int, seconds: int, only: str | None) -> None:
    """Compare net with a Linux bridge, disk with vblade on Linux."""
    kernel = fetch("debian-12", checkout() / "build/testbed", click.echo)
    to = checkout() / "build/experiments/service-throughput.json"
    facts, samples = host_facts(), list[Sample]()
    measures = {"net": _net_samples, "disk": _disk_samples}
    try:
        for service in (only,) if only else measures:
            for sample in measures[service](rounds, seconds, kernel):
                samples.append(sample)
                # what was measured before a failure is not lost
                write_report(Report(facts, seconds, samples), to)
                click.echo(
                    f"round {sample.round + 1}: {sample.what} by {sample.by}: "
                    f"{sample.figure:.1f} {sample.unit}"
                )
    except ObserverError as e:
        raise click.ClickException(e.message) from e
    least = []
    for name, ours, theirs, unit in _ratios(samples):
        least.append(ours / theirs)
        click.echo(
            f"{name}: {ours:.1f} {unit}, its peer {theirs:.1f}: {least[-1]:.2f}x"
        )
    sys.exit(0 if min(least) >= 1 else 1)


if __name__ == "__main__":
    main()
