# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.errors import ProgramError
from observer.experiment.faults import FAULTS, break_services
from observer.services.folder import ServiceFolder
from observer.services.images import Port, ServiceSpec
from observer.services.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NET = FAULTS["net-failure"]
SPEC = ServiceSpec("net.elf", (Port("tap", "bridge"),))


@contextmanager
def listening(runtime: Path, answer: bytes) -> Iterator[list[bytes]]:
    """A service's control port; what it was told."""
    folder = ServiceFolder(runtime / "net")
    folder.vm.path.mkdir(parents=True)
    heard: list[bytes] = []

    def serve() -> None:
        wire, _ = port.accept()
        with wire:
            heard.append(wire.recv(100))
            wire.sendall(answer)

    with socket.socket(socket.AF_UNIX) as port:
        port.bind(str(folder.vm.control))
        port.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join()


def test_a_hang_is_ordered_and_counts_from_before_the_order(tmp_path: Path) -> None:
    """The moment lies before the service heard of it."""
    before_ns = time.monotonic_ns()
    with listening(tmp_path, b"ok fault nic-hang\n") as heard:
        moment_ns = break_services(NET["nic-hang"], tmp_path)

    assert heard == [b"fault nic-hang\n"]
    assert before_ns <= moment_ns <= time.monotonic_ns()


def test_one_that_may_not_be_broken_is_told_of(tmp_path: Path) -> None:
    """No run is counted in which nothing was broken."""
    with (
        listening(tmp_path, b"refused fault nic-hang\n"),
        pytest.raises(ProgramError, match="faults=on"),
    ):
        break_services(NET["nic-hang"], tmp_path)


def test_a_crash_kills_the_very_process(tmp_path: Path) -> None:
    """All that are named, by SIGKILL."""
    fault = FAULTS["all-failure"]["all-services-crash"]
    victims = [subprocess.Popen(["sleep", "60"]) for _ in fault.services]
    for service, victim in zip(fault.services, victims, strict=True):
        folder = ServiceFolder(tmp_path / service)
        folder.path.mkdir()
        record = Record(service, victim.pid, 1, 1, SPEC)
        folder.record.write_bytes(msgspec.json.encode(record))

    break_services(fault, tmp_path)

    assert [v.wait(10) for v in victims] == [-signal.SIGKILL] * 2


def test_one_that_is_not_up_cannot_be_killed(tmp_path: Path) -> None:
    """The error says which."""
    with pytest.raises(ProgramError, match="net is not up"):
        break_services(NET["vmm-crash"], tmp_path)
