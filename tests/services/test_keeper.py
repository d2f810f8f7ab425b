# SPDX-License-Identifier: Apache-2.0
"""A service that cannot be started: one sentence, and nothing half made."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from observer.errors import ObserverError
from observer.services.folder import ServiceFolder
from observer.services.images import Port, ServiceSpec
from observer.services.kept_vm import KeptVm, Seat, kept_service
from observer.services.launch import Handed
from observer.services.parking import Parking

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
