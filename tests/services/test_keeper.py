# SPDX-License-Identifier: Apache-2.0
"""A service that cannot be started: one sentence, and nothing half made."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import syslog
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from observer.errors import HostError, ObserverError, UsageError
from observer.services.folder import ServiceFolder
from observer.services.images import Port, ServiceSpec
from observer.services.keeper import Served, main
from observer.services.kept_vm import KeptVm, Seat, kept_service
from observer.services.launch import Handed
from observer.services.parking import Parking
from observer.services.record import read_record

if TYPE_CHECKING:
    from observer.services.life import Life

OPEN = Path("/proc/self/fd")
NET = ServiceSpec("net.elf", (Port("obs-none", "obs-none-br"),))


def devices() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": "none.elf"}, "none.elf cannot be opened"),
        ({"ports": (Port("lo", "obs-none-br"),)}, "network device lo already"),
        ({"disk": "/nowhere/disk.img"}, "disk.img cannot be opened"),
        ({"disk": "/dev/null"}, "not the right size"),
        ({"disk": "/"}, "cannot be opened"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """A missing image, a name that is taken, a disk that is none."""
    (tmp_path / "net.elf").touch()
    runtime, before = tmp_path / "run", devices()
    runtime.mkdir()
    spec = msgspec.structs.replace(NET, **changes)

    with (
        pytest.raises(ObserverError, match=said) as caught,
        kept_service("net", spec, runtime, tmp_path),
    ):
        pytest.fail("it cannot be up")

    assert caught.value.message.count(". ") == 0
    assert devices() == before
    assert not list(runtime.iterdir())


def test_who_ends_later_than_its_start_is_heard_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who started it has long gone then; the one sentence is in syslog as well."""
    logged: list[tuple[int, str]] = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # ours stay
    monkeypatch.setattr(syslog, "syslog", lambda *words: logged.append(words))
    monkeypatch.setattr(sys, "stdout", Closed())

    assert main(str(tmp_path), str(tmp_path), "nobody") == UsageError.exit_code

    ((level, said),) = logged
    assert level == syslog.LOG_ERR
    assert said.startswith("There is no service nobody in ")
    assert not capsys.readouterr().err


class Closed:
    """The end of a pipe that nobody reads."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_tap_that_somebody_took_away_is_one_sentence() -> None:
    """Nothing is opened for it, and who keeps the service goes on."""
    before = len(list(OPEN.iterdir()))

    with pytest.raises(HostError, match="The tap obs-none is gone"):
        Parking({"obs-none": -1})

    assert len(list(OPEN.iterdir())) == before


def test_a_name_is_no_path(tmp_path: Path) -> None:
    """It becomes part of one."""
    with (
        pytest.raises(ObserverError, match="no name for a service"),
        kept_service("../net", NET, tmp_path, tmp_path),
    ):
        pytest.fail("it cannot be up")


def test_a_forgotten_memory_is_as_large_and_empty(tmp_path: Path) -> None:
    """The next life finds nothing of what the last one had in hand."""
    memory = os.memfd_create("test")
    os.pwrite(memory, b"frames in hand", 4096)
    os.ftruncate(memory, 8192)
    seats = (
        Seat(ServiceFolder(tmp_path).seat(0), os.getuid()),
        Seat(ServiceFolder(tmp_path).seat(1), os.getuid()),
    )
    seats[0].handed = Handed(image=-1, disk=None, disk_driver="file", memory=memory)
    parking = Parking({})
    vm = KeptVm(NET, ServiceFolder(tmp_path), parking, seats)

    vm.forget()

    assert os.pread(memory, 10_000, 0) == bytes(8192)
    os.close(memory)
    parking.close()


class Ended:
    """A life, as far as a switch uses it; `seen` says that its end was heard of."""

    def __init__(self, pid: int, *, seen: bool = False) -> None:
        self.pid, self.is_ending = pid, False
        self._pipe = os.pipe()
        self.death = None if seen else self._pipe[0]
        self.said: list[str] = []

    def is_over(self) -> bool:
        return self.death is None

    def stands_still(self, _seconds: float) -> bool:
        return True

    def kill(self) -> None:
        self.is_ending = True

    def ask(self, line: str, _seconds: float) -> list[str]:
        self.said.append(line)
        return []

    def end(self) -> None:
        for fd in self._pipe:
            os.close(fd)


@pytest.mark.parametrize("seen", [False, True])
def test_who_was_switched_from_makes_room_for_a_spare(
    tmp_path: Path, *, seen: bool
) -> None:
    """When its end is heard of, or at once where that was before."""
    folder = ServiceFolder(tmp_path)
    seats = Seat(folder.seat(0), os.getuid()), Seat(folder.seat(1), os.getuid())
    lives = Ended(70, seen=seen), Ended(71)
    for seat, life in zip(seats, lives, strict=True):
        other = os.dup(0)
        seat.handed = Handed(-1, None, "file", other_memory=other)
        seat.life, seat.is_up = cast("Life", life), True
    spec = msgspec.structs.replace(NET, spare=True, ports=())
    parking = Parking({})
    vm = KeptVm(spec, folder, parking, seats)

    vm.switch()

    assert vm.pid == 71
    assert lives[1].said == ["take over"]
    assert vm.spare is None
    record = read_record(folder)
    assert record is not None
    assert (record.pid, record.spare) == (71, None)
    assert vm.wants_spare == seen
    assert (vm.spare_death is None) == seen
    if not seen:
        vm.lose_spare()
    assert vm.wants_spare
    for seat in seats:
        seat.clear()
    parking.close()


class Away:
    """A VM that is down, and has no spare."""

    pid, life, spare, spare_death = 0, None, None, None
    wants_spare = spare_comes = False

    def let_go(self) -> None:
        """Hold nothing."""


def test_whoever_says_nothing_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another is heard meanwhile; and it is not waited for for ever."""
    path = str(tmp_path / "keeper")
    with socket.socket(socket.AF_UNIX) as orders:
        orders.bind(path)
        orders.listen()
        served = Served(cast("KeptVm", Away()), orders)

        def caller() -> socket.socket:
            wire = socket.socket(socket.AF_UNIX)
            wire.connect(path)
            served.wait()
            return wire

        with caller() as silent, caller() as other:
            other.sendall(b"restart 7\n")
            served.wait()
            assert other.recv(100) == b"ok restart 7\n"
            assert not select.select([silent], [], [], 0)[0]

            silent.sendall(b"restart 7\n")  # it was busy elsewhere
            served.wait()
            assert silent.recv(100) == b"ok restart 7\n"

        monkeypatch.setattr("observer.services.keeper.HEAR_SECONDS", 0.5)
        with socket.socket(socket.AF_UNIX) as late:
            coming = threading.Timer(0.7, late.connect, [path])
            coming.start()
            served.wait()  # its time begins when it has come
            coming.join()
            late.sendall(b"restart 7\n")
            served.wait()
            assert late.recv(100) == b"ok restart 7\n"
        with caller() as silent:
            served.wait()
            assert silent.recv(100) == b""


class Switched(Away):
    """One whose spare serves as soon as that is asked for; then it wants another."""

    pid, begun = 70, 0

    def switch(self) -> None:
        self.pid, self.wants_spare = 71, True

    def stand_by(self) -> None:
        self.begun, self.wants_spare = self.begun + 1, False


def test_the_next_spare_begins_when_all_has_calmed_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else failed in the same moment has the CPUs before it."""
    monkeypatch.setattr("observer.services.keeper.CALM_SECONDS", 0.2)
    vm, path = Switched(), str(tmp_path / "keeper")
    with socket.socket(socket.AF_UNIX) as orders, socket.socket(socket.AF_UNIX) as wire:
        orders.bind(path)
        orders.listen()
        served = Served(cast("KeptVm", vm), orders)
        wire.connect(path)
        wire.sendall(b"switch 70\n")
        served.wait()
        began = time.monotonic()
        served.wait()
        assert wire.recv(100) == b"ok switch 70\n"
        assert not vm.begun
        while not vm.begun:
            served.wait()
    assert time.monotonic() > began + 0.15
