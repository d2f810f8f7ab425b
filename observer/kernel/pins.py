# SPDX-License-Identifier: Apache-2.0
"""What lies in bpffs: maps and links that outlive the daemon.

    ROOT/books-LAYOUT/MAP            the cells; LAYOUT changes when a cell does
    ROOT/NAME-BUILD/PROGRAM          the links of one object; BUILD changes with its
                                     code and its knobs

So a daemon that starts finds by name what it may take over as it is.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from observer.errors import HostError
from observer.kernel.cells import PROCESS, RING, SERVICE, SUSPICION, VCPU, VM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "build_tag",
    "layout_tag",
    "make_folder",
    "unpin",
    "unpin_all",
    "unpin_older",
]

TAG_CHARS = 12


def layout_tag() -> str:
    """Name the layout of all cells."""
    cells = VM, VCPU, RING, SERVICE, SUSPICION, PROCESS
    text = repr([kind.descr for kind in cells])
    return hashlib.sha256(text.encode()).hexdigest()[:TAG_CHARS]


def build_tag(built: bytes, knobs: Mapping[str, int]) -> str:
    """Name a build of an object with its knobs."""
    text = built + repr(sorted(knobs.items())).encode()
    return hashlib.sha256(text).hexdigest()[:TAG_CHARS]


def make_folder(path: Path) -> None:
    """Make a folder in bpffs, with a sentence where that is not possible."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise HostError(
            f"{path} cannot be made ({e.strerror}): mount bpffs there "
            "(mount -t bpf bpf /sys/fs/bpf) and run as root."
        ) from e


def unpin(folder: Path) -> None:
    """Remove a folder of pins: links detach, maps go with their last user."""
    for pin in folder.iterdir():
        pin.unlink()
    folder.rmdir()


def unpin_older(root: Path, name: str, keep: str) -> None:
    """Remove what earlier builds of an object, or of the books, left behind."""
    for folder in root.glob(f"{name}-*"):
        if folder.name != keep:
            unpin(folder)


def unpin_all(root: Path) -> None:
    """Remove all that we have in bpffs."""
    if root.is_dir():
        for folder in root.iterdir():
            unpin(folder)
        root.rmdir()
