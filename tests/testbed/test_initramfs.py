# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import pytest

from observer.errors import HostError
from observer.testbed.initramfs import Paths, is_static, loadable
from observer.testbed.programs import require


def test_a_program_with_a_loader_is_not_static() -> None:
    """This machine's own programs need their libraries."""
    sleep = shutil.which("sleep")
    assert sleep is not None

    assert not is_static(Path(sleep).read_bytes())
    assert is_static(b"\x7fELF" + bytes(8192) + b"/ld-linux")


def test_builtin_modules_are_not_loaded() -> None:
    """Debian 13 has virtio_pci built in, Debian 12 loads it."""
    builtin = "kernel/drivers/virtio/virtio_pci.ko\nkernel/fs/fuse/virtiofs.ko\n"

    assert loadable(["virtio_pci", "9p"], builtin) == ["9p"]


def test_paths_are_files_of_the_archive() -> None:
    """Paths may hold blanks: they are not on a command line."""
    paths = Paths(Path("/my src"), Path("/m"), "nested", (".venv", "build/x"))

    found = {entry.name: entry.data for entry in paths.entries()}

    assert found["given/checkout"] == b"/my src"
    assert found["given/cached"] == b".venv\nbuild/x\n"


def test_says_which_packages_to_install() -> None:
    """All that is missing is named at once, with the packages that bring it."""
    needed = {"depmod": "kmod", "modprobe": "kmod", "sh": "dash", "qemu": "qemu-x86"}

    with pytest.raises(HostError, match="apt-get install kmod qemu-x86`"):
        require(needed, {"sh": "/bin/sh"}.get)


def test_is_content_with_what_is_there() -> None:
    """Nothing missing, nothing said."""
    require({"sh": "dash"}, lambda name: f"/bin/{name}")
