# SPDX-License-Identifier: Apache-2.0
"""Writes a cpio archive in the "newc" form, which a kernel unpacks as its first root.

It needs no root, not even for device nodes, and gives the same bytes for the same
entries: owner, time and inode numbers are made up here, not read from a file system.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Entry", "archive", "character_device", "directory", "file"]

_MAGIC = "070701"
_ALIGNMENT = 4
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of the archive, relative to its root."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    """Return a folder that all may enter."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, *, executable: bool = False) -> Entry:
    """Return a plain file."""
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)


def character_device(name: str, major: int, minor: int) -> Entry:
    """Return a device node."""
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def _padding(length: int) -> bytes:
    return bytes(-length % _ALIGNMENT)


def _encoded(entry: Entry, inode: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    owner = group = time = checksum = 0
    fields = (
        *(inode, entry.mode, owner, group, links, time, len(entry.data)),
        *(0, 0, *entry.device, len(name), checksum),
    )
    header = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode()
    head = header + name
    return head + _padding(len(head)) + entry.data + _padding(len(entry.data))


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")[:-1]
    return ("/".join(parts[: depth + 1]) for depth in range(len(parts)))


def _with_parents(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Put every folder before what lies in it: the kernel makes none by itself."""
    seen: set[str] = set()
    for entry in entries:
        for parent in _parents(entry.name):
            if parent not in seen:
                seen.add(parent)
                yield directory(parent)
        seen.add(entry.name)
        yield entry


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive that holds the entries in their order."""
    members = [*_with_parents(entries), Entry(_TRAILER, 0)]
    return b"".join(_encoded(member, inode) for inode, member in enumerate(members))
