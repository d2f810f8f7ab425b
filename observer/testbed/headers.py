# SPDX-License-Identifier: Apache-2.0
"""Makes extracted Debian kernel packages usable where they lie.

Installed, they name each other by absolute paths; rewritten to relative ones the tree
works in any folder, here as in the nested host, with nothing installed.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["gather_modules", "make_relocatable", "relative_include", "unpack_modules"]

_INCLUDE = re.compile(r"^include /usr/src/", re.MULTILINE)


def relative_include(makefile: str) -> str:
    """The text of a headers' Makefile, which `make -C` runs where it lies."""
    return _INCLUDE.sub("include ../", makefile)


def make_relocatable(root: Path) -> None:
    """Turn links and includes that assume installation into relative ones."""
    for path in [*root.glob("lib/modules/*/*"), *root.glob("usr/src/*/*")]:
        if path.is_symlink() and (target := path.readlink()).is_absolute():
            path.unlink()
            here = root / target.relative_to("/")
            path.symlink_to(os.path.relpath(here, path.parent))
    for makefile in root.glob("usr/src/*/Makefile"):
        makefile.write_text(relative_include(makefile.read_text()))


def gather_modules(root: Path) -> None:
    """Move usr/lib/modules, where newer packages have them, to lib/modules."""
    for source in root.glob("usr/lib/modules/*/*"):
        target = root / source.relative_to(root / "usr")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() and not source.readlink().is_absolute():
            leads_to = os.path.normpath(source.parent / source.readlink())
            target.symlink_to(os.path.relpath(leads_to, target.parent))
        else:
            source.rename(target)
    shutil.rmtree(root / "usr/lib/modules", ignore_errors=True)


def unpack_modules(root: Path) -> None:
    """Unpack .ko.xz: the initramfs loads modules before anything could."""

    def unpack(packed: Path) -> None:
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(unpack, root.glob("lib/modules/*/**/*.ko.xz")))
