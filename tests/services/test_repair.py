# SPDX-License-Identifier: Apache-2.0
"""A service that is broken is mended by the observer, and nothing is lost.

OBSERVER_ROUNDS is how often each fault is injected.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import pytest

from observer.demo.voice import Voice, observer_running
from observer.errors import DeadlineError, ProgramError
from observer.guests.traffic import Flow
from observer.guests.waiting import wait_until
from observer.model import Result, StepKind
from observer.services.control import order
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.record import read_record

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.usefixtures("leave_to_break")]

ROUNDS = int(os.environ.get("OBSERVER_ROUNDS", "1"))
POLICY = """
[repair]
dry_run = false
care = ["{name}"]
rates = {{ vm = 1000, host = 1000, window = "1m" }}
[paths]
state = "{state}"
"""
RESET, RESTART = StepKind.RESET_PART, StepKind.RESTART_SERVICE
OF_NET = {
    "nic-hang": RESET,
    "netback-hang": RESET,
    "service-hang": RESTART,
    "service-crash": RESTART,
    "kill": RESTART,
}
OF_DISK = {
    "disk-hang": RESET,
    "target-hang": RESET,
    "service-hang": RESTART,
    "service-crash": RESTART,
    "kill": RESTART,
}
BLOCK_BYTES, BLOCKS = 4096, 64
BYPASS = os.O_RDWR | os.O_DIRECT


class Service:
    """One that is up, to be broken."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, ServiceFolder(RUNTIME / name)

    def pid(self) -> int:
        record = read_record(self.folder)
        assert record is not None
        assert record.pid is not None
        return record.pid

    def salvaged(self) -> int:
        """Frames that this life found in hand when it began."""
        lines = asyncio.run(order(self.folder.control, "stats", 10.0))
        (line,) = (line for line in lines if line.startswith("stats net "))
        return int(line.split("salvaged=")[1].split()[0])

    def breaks(self, fault: str) -> None:
        if fault == "kill":
            os.kill(self.pid(), signal.SIGKILL)
            return
        try:
            asyncio.run(order(self.folder.control, f"fault {fault}", 0.5))
        except (DeadlineError, ProgramError):
            assert fault.startswith("service-")  # it does not answer any more


@contextmanager
def caring_for(service: Service, folder: Path) -> Iterator[Voice]:
    """An observer that mends this one, and has seen it."""
    config = folder / "observer.toml"
    config.write_text(POLICY.format(name=service.name, state=folder / "state"))
    with observer_running(folder / "log", "--config", str(config)) as voice:
        seen = f"vm: {service.name} "
        wait_until(lambda: seen in voice.notes(), 60, f"it saw {service.name}")
        yield voice


def mended(voice: Voice, service: Service, fault: str, step: StepKind) -> float:
    """Break it, and wait until it is mended by this step; how many ms that took."""
    began_ns = time.monotonic_ns()
    service.breaks(fault)
    outcome = voice.wait_for_outcome(lambda o: o.monotonic_ns > began_ns, 60)
    heard = [*voice.since(began_ns), *voice.outcomes()]
    assert outcome is not None, (fault, heard, voice.notes())
    by = outcome.result, outcome.step
    assert by == (Result.REPAIRED, step), (fault, heard, voice.notes())
    return outcome.took_ns / 1e6


@pytest.mark.timeout(300 + 200 * ROUNDS)
def test_a_net_is_mended_without_losing_a_frame(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    record_property: Callable[[str, object], None],
) -> None:
    """By the finest means that helps, under traffic both ways; all arrive, in order.

    Those that the service had in hand when it died may arrive twice.
    """
    inside, outside = hosts
    net, found = Service("net"), 0
    with caring_for(net, tmp_path) as voice:
        with Flow(inside, outside) as out, Flow(outside, inside) as back:
            for round_ in range(ROUNDS):
                for fault, step in OF_NET.items():
                    out.wait_for(30)
                    back.wait_for(30)
                    took_ms = mended(voice, net, fault, step)
                    record_property(f"{round_} net {fault}", took_ms)
                    found += net.salvaged() if step is RESTART else 0
            out.wait_for(30)
            back.wait_for(30)
        assert len(voice.since(0)) == len(OF_NET) * ROUNDS, voice.since(0)
    for flow in (out, back):
        arrived = list(dict.fromkeys(flow.received))
        assert arrived == list(range(flow.sent))
        assert len(flow.received) - len(arrived) <= found
    assert not net.folder.ending.exists()


class Writer:
    """Writes numbered blocks past the cache, and reads each back, while it runs."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.count = 0
        self.errors: list[str] = []

    def _write(self) -> None:
        disk, block = os.open(self._disk, BYPASS), mmap.mmap(-1, BLOCK_BYTES)
        while not self._over.wait(0.005):
            at = (self.count * 7 % BLOCKS) * BLOCK_BYTES
            said = f"block {self.count} ".encode() * (BLOCK_BYTES // 16)
            block[:] = said[:BLOCK_BYTES].ljust(BLOCK_BYTES, b".")
            written = bytes(block)
            try:
                os.pwritev(disk, [block], at)
                os.preadv(disk, [block], at)
            except OSError as e:
                self.errors.append(f"block {self.count}: {e}")
                break
            if bytes(block) != written:
                self.errors.append(f"block {self.count} is not what was written")
            self.count += 1
        os.close(disk)

    def wait_for(self, count: int) -> None:
        """Return when so many more were written."""
        wanted = self.count + count
        wait_until(
            lambda: self.count >= wanted or bool(self.errors), 60, f"{count} blocks"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.timeout(300 + 200 * ROUNDS)
def test_a_disk_is_mended_without_an_error(
    tmp_path: Path, disk: Path, record_property: Callable[[str, object], None]
) -> None:
    """While it is written to; each block that was written is there."""
    service = Service("disk")
    with caring_for(service, tmp_path) as voice:
        with Writer(disk) as writer:
            for round_ in range(ROUNDS):
                for fault, step in OF_DISK.items():
                    writer.wait_for(10)
                    took_ms = mended(voice, service, fault, step)
                    record_property(f"{round_} disk {fault}", took_ms)
            writer.wait_for(10)
        assert len(voice.since(0)) == len(OF_DISK) * ROUNDS, voice.since(0)
    assert not writer.errors


@pytest.mark.usefixtures("net")
def test_an_operator_orders_what_the_policy_does_not(
    tmp_path: Path,
    hosts: tuple[socket.socket, socket.socket],
    run: Callable[..., str],
) -> None:
    """First to see how, then to have it done."""
    net = Service("net")
    argv = [sys.executable, "-m", "observer", "repair", "net"]
    with observer_running(tmp_path / "log") as voice, Flow(*hosts) as flow:
        wait_until(lambda: "vm: net " in voice.notes(), 60, "it saw net")
        flow.wait_for(30)
        net.breaks("nic-hang")
        assert voice.wait(lambda v: v.subject == "net/nic", 10) is not None

        said = run(*argv, "--dry-run")
        assert said.startswith("would: net/nic: reset-part: say `reset nic ")
        assert not voice.outcomes()
        assert run(*argv).startswith("begun: net/nic: reset-part")
        outcome = voice.wait_for_outcome(lambda _: True, 10)
        assert outcome is not None
        assert outcome.result is Result.REPAIRED
        flow.wait_for(30)
