# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from observer.inventory.register import Register
from observer.inventory.vmm import read_vms
from observer.model import Vm

if TYPE_CHECKING:
    from pathlib import Path

WEB = Vm(7, 4711, "web-1", 3, ("tap0",), user=64055, uuid="3d84f07c")


def add_process(proc: Path, state: str, start_ticks: int, argv: str = "") -> None:
    folder = proc / str(WEB.pid)
    (folder / "fdinfo").mkdir(parents=True)
    (folder / "fd").mkdir()
    (folder / "comm").write_text("qemu-system-x86\n")
    (folder / "cmdline").write_text(argv)
    rest = " ".join(["0"] * 12)
    text = f"7 (qemu) {state} 1 1 1 0 -1 0 {rest} {start_ticks} 0"
    (folder / "stat").write_text(text)
    (folder / "schedstat").write_text("5000 100 3")


def vms_in(proc: Path) -> list[Vm]:
    return read_vms(proc, {7: 5}, {7: WEB})[0]


def test_the_next_one_reads_what_was_written(tmp_path: Path) -> None:
    """And nothing where nobody wrote, or something else is there."""
    path = tmp_path / "vms.json"
    assert Register(path).read() == {}
    Register(path).write([WEB])
    assert Register(path).read() == {7: WEB}
    assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [path]

    path.write_text("[{}]")
    assert Register(path).read() == {}
    Register(tmp_path / "nowhere/vms.json").write([WEB])  # that is no error


def test_who_died_meanwhile_is_who_he_was(tmp_path: Path) -> None:
    """A zombie has no command line, and one that was waited for no folder."""
    assert vms_in(tmp_path)[0].name == "web-1"
    assert vms_in(tmp_path)[0].slot == 5

    add_process(tmp_path, "Z", 4711)
    (was,) = vms_in(tmp_path)
    assert (was.name, was.uuid, was.user) == ("web-1", "3d84f07c", 64055)


def test_another_process_of_that_number_is_another_vm(tmp_path: Path) -> None:
    """Alive or dead; one that is dead, and was never seen, has no name."""
    add_process(tmp_path, "Z", 5000)
    assert not vms_in(tmp_path)
    other = tmp_path / "other"
    add_process(other, "S", 5000, "qemu\0-name\0guest=web-2\0")
    assert vms_in(other)[0].name == "web-2"


def test_who_is_alive_is_read_anew(tmp_path: Path) -> None:
    """His taps may be others by now."""
    add_process(tmp_path, "S", 4711, "qemu\0-name\0guest=web-1\0")
    assert vms_in(tmp_path)[0].taps == ()
