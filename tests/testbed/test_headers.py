# SPDX-License-Identifier: Apache-2.0
import lzma
from pathlib import Path

from observer.testbed.headers import (
    gather_modules,
    make_relocatable,
    relative_include,
    unpack_modules,
)


def _write(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_a_makefile_finds_its_neighbour() -> None:
    """The include leads to the folder next to the Makefile's own."""
    text = "include /usr/src/linux-headers-6.1.0-56-common/Makefile\n"

    expected = "include ../linux-headers-6.1.0-56-common/Makefile\n"
    assert relative_include(text) == expected


def test_links_lead_to_the_tree_and_not_to_the_machine(tmp_path: Path) -> None:
    """`build` resolves inside of the tree, wherever that is moved."""
    tree = tmp_path / "tree"
    _write(tree / "usr/src/linux-headers-1/Makefile", b"include /usr/src/x/Makefile\n")
    (tree / "lib/modules/1").mkdir(parents=True)
    (tree / "lib/modules/1/build").symlink_to("/usr/src/linux-headers-1")

    make_relocatable(tree)
    moved = tree.rename(tmp_path / "moved")

    build = (moved / "lib/modules/1/build").resolve()
    assert build == moved / "usr/src/linux-headers-1"
    assert "/usr/src" not in (build / "Makefile").read_text()


def test_modules_are_in_one_place(tmp_path: Path) -> None:
    """Packages of a merged /usr and older ones end up in the same folder."""
    _write(tmp_path / "usr/lib/modules/1/kernel/a.ko")
    _write(tmp_path / "lib/modules/1/modules.order")
    _write(tmp_path / "usr/src/linux-headers-1/Makefile")
    build = Path("../../../src/linux-headers-1")
    (tmp_path / "usr/lib/modules/1/build").symlink_to(build)

    gather_modules(tmp_path)

    gathered = tmp_path / "lib/modules/1"
    names = {path.name for path in gathered.iterdir()}
    assert names == {"build", "kernel", "modules.order"}
    assert (gathered / "build").resolve() == tmp_path / "usr/src/linux-headers-1"
    assert not (tmp_path / "usr/lib/modules").exists()


def test_packed_modules_are_unpacked(tmp_path: Path) -> None:
    """The initramfs needs modules that insmod takes as they are."""
    packed = tmp_path / "lib/modules/1/kernel/fs/a.ko.xz"
    _write(packed, lzma.compress(b"module"))

    unpack_modules(tmp_path)

    assert (packed.parent / "a.ko").read_bytes() == b"module"
    assert not packed.exists()
