# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.clock import MS, SECOND
from observer.errors import HostError, ProgramError
from observer.experiment import faults
from observer.experiment.event_trace import TracePipe
from observer.experiment.faults import FAULTS, break_services
from observer.experiment.hypercall_trace import HypercallTrace
from observer.experiment.moment import FaultTrace, fault_trace
from observer.services.abi import Abi
from observer.services.folder import ServiceFolder
from observer.services.images import Port, ServiceSpec
from observer.services.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ABI = Abi.of_header()
NO_TRACE = FaultTrace(HypercallTrace(TracePipe(-1)), ABI)
NET = FAULTS["net-failure"]
SPEC = ServiceSpec("net.elf", (Port("tap", "bridge"),))


@contextmanager
def listening(
    runtime: Path, answer: bytes, obeys: Callable[[int], bytes] = lambda _ns: b""
) -> Iterator[tuple[list[bytes], FaultTrace]]:
    """A service's control port; what it was told, and the trace of what it obeyed."""
    folder = ServiceFolder(runtime / "net")
    folder.vm.path.mkdir(parents=True)
    heard: list[bytes] = []
    pipe, traced = os.pipe2(os.O_NONBLOCK)

    def serve() -> None:
        wire, _ = port.accept()
        with wire:
            heard.append(wire.recv(100))
            wire.sendall(answer)
            os.write(traced, obeys(time.monotonic_ns()))

    with socket.socket(socket.AF_UNIX) as port:
        port.bind(str(folder.vm.control))
        port.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard, FaultTrace(HypercallTrace(TracePipe(pipe)), ABI)
        thread.join()
    os.close(pipe)
    os.close(traced)


def traced(service: str, ns: int) -> bytes:
    """A line of the kernel's trace."""
    number, who = ABI["HYPERCALL_FAULT"], ABI[f"SERVICE_{service}"]
    at = f"{ns // SECOND}.{ns % SECOND // 1000:06d}"
    said = f"kvm_hypercall: nr {number:#x} a0 {who:#x} a1 0x0 a2 0x0 a3 0x0"
    return f"       CPU 0/KVM-2741    [001] ...1.  {at}: {said}\n".encode()


@pytest.mark.parametrize("answer", [b"ok fault nic-hang\n", b""])
def test_the_moment_is_when_it_was_obeyed(tmp_path: Path, answer: bytes) -> None:
    """By the kernel's trace; one of another service, or from before, is not it."""
    before_ns = time.monotonic_ns()

    def obeys(now_ns: int) -> bytes:
        late = now_ns + MS
        return (
            traced("NET", before_ns - MS) + traced("DISK", now_ns) + traced("NET", late)
        )

    with listening(tmp_path, answer, obeys) as (heard, trace):
        moment_ns = break_services(NET["nic-hang"], trace, tmp_path)

    assert heard == [b"fault nic-hang\n"]
    assert before_ns + MS - 1000 <= moment_ns <= time.monotonic_ns() + MS


def test_a_line_that_is_half_there_is_waited_for() -> None:
    """A trace is read as it is written."""
    pipe, end = os.pipe2(os.O_NONBLOCK)
    trace, line = (
        FaultTrace(HypercallTrace(TracePipe(pipe)), ABI),
        traced("NET", 5 * SECOND),
    )
    os.write(end, line[:60])
    assert trace.take("net", 0) is None
    os.write(end, line[60:])
    assert trace.take("net", 0) == 5 * SECOND
    os.close(end)
    assert trace.take("net", 0) is None
    os.close(pipe)


def test_one_that_may_not_be_broken_is_told_of(tmp_path: Path) -> None:
    """No run is counted in which nothing was broken."""
    with (
        listening(tmp_path, b"refused fault nic-hang\n") as (_, trace),
        pytest.raises(ProgramError, match="faults=on"),
    ):
        break_services(NET["nic-hang"], trace, tmp_path)


def test_one_that_does_not_obey_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older image obeys and says nothing of it: no moment, no run."""
    monkeypatch.setattr(faults, "OBEYED_SECONDS", 0.05)
    with (
        listening(tmp_path, b"ok fault nic-hang\n") as (_, trace),
        pytest.raises(ProgramError, match="did not obey nic-hang"),
    ):
        break_services(NET["nic-hang"], trace, tmp_path)


def test_where_nothing_is_traced_no_fault_has_a_moment(tmp_path: Path) -> None:
    """The error says what to mount."""
    with pytest.raises(HostError, match="mount -t tracefs"), fault_trace(tmp_path):
        pytest.fail("there is no tracefs")


def test_a_crash_kills_the_very_process(tmp_path: Path) -> None:
    """All that are named, by SIGKILL."""
    fault = FAULTS["all-failure"]["all-services-crash"]
    victims = [subprocess.Popen(["sleep", "60"]) for _ in fault.services]
    for service, victim in zip(fault.services, victims, strict=True):
        folder = ServiceFolder(tmp_path / service)
        folder.path.mkdir()
        record = Record(service, victim.pid, 1, 1, SPEC)
        folder.record.write_bytes(msgspec.json.encode(record))

    break_services(fault, NO_TRACE, tmp_path)

    assert [v.wait(10) for v in victims] == [-signal.SIGKILL] * 2


def test_one_that_is_not_up_cannot_be_killed(tmp_path: Path) -> None:
    """The error says which."""
    with pytest.raises(ProgramError, match="net is not up"):
        break_services(NET["vmm-crash"], NO_TRACE, tmp_path)
