# SPDX-License-Identifier: Apache-2.0
"""Puts programs into a Linux guest's first root, with the libraries that they need."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import HostError
from observer.guests import cpio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from observer.guests.images import GuestImage

__all__ = ["libraries_of", "places_of", "with_programs"]

LDD_SECONDS = 30.0
# As ldd prints them: by name and place, or by the place alone.
_LIBRARY = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


def libraries_of(ldd: str) -> list[str]:
    """The places of the libraries, from what ldd said."""
    return _LIBRARY.findall(ldd)


def _places(program: str) -> Iterator[str]:
    found = shutil.which(program)
    if found is None:
        raise HostError(f"{program} is missing: install it on this machine.")
    yield found
    done = subprocess.run(
        ["ldd", found], capture_output=True, text=True, check=True, timeout=LDD_SECONDS
    )
    yield from libraries_of(done.stdout)


def places_of(programs: Sequence[str]) -> list[str]:
    """Where programs of this machine and their libraries lie, each once."""
    return list(dict.fromkeys(place for name in programs for place in _places(name)))


def _built(program: Path) -> cpio.Entry:
    try:
        data = program.read_bytes()
    except FileNotFoundError:
        raise HostError(f"{program} is missing: run `make agents`.") from None
    return cpio.file(f"bin/{program.name}", data, executable=True)


def with_programs(
    image: GuestImage, programs: Sequence[str | Path], start: str, folder: Path
) -> GuestImage:
    """The image, its root with the programs and a script that runs before it is up.

    A name is a program of this machine, which lies there where it lies here; a path is
    one that was built for a guest, needs no library, and lies in /bin there.  A kernel
    unpacks archives that follow each other one over the other.
    """
    installed = [name for name in programs if isinstance(name, str)]
    more = cpio.archive(
        [
            *(
                cpio.file(place.lstrip("/"), Path(place).read_bytes(), executable=True)
                for place in places_of(installed)
            ),
            *(_built(path) for path in programs if isinstance(path, Path)),
            cpio.file("start", f"#!/bin/busybox sh\n{start}".encode(), executable=True),
        ]
    )
    made = folder / "initrd"
    made.write_bytes(Path(image.initrd).read_bytes() + more)
    return replace(image, initrd=str(made))
