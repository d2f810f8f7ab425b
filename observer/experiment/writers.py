# SPDX-License-Identifier: Apache-2.0
"""Watches that a disk never has two writers, by the kernel's word of who writes.

fanotify(7) tells of every write to the file by which process.  A new writer is one too
many where the last one still lives, or writes again.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from typing import TYPE_CHECKING, Self

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Succession", "Writers"]

FAN_CLOEXEC, FAN_NONBLOCK, FAN_UNLIMITED_QUEUE = 0x1, 0x2, 0x10  # linux/fanotify.h
FAN_MARK_ADD, FAN_MODIFY = 0x1, 0x2
AT_FDCWD = -100
EVENT = struct.Struct("=IBBHQii")  # struct fanotify_event_metadata
EVENTS_BYTES = 1 << 16
LOOK_SECONDS = 0.2
DEAD_STATES = "ZX"


def _lives(pid: int) -> bool:
    """Whether a process can still write; a zombie cannot."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - as fast as can be
            return stat.read().rpartition(") ")[2][0] not in DEAD_STATES
    except (FileNotFoundError, ProcessLookupError):
        return False


class Succession:
    """Who wrote, one after the other."""

    def __init__(self, lives: Callable[[int], bool] = _lives) -> None:
        self._lives = lives
        self.writers: list[int] = []
        self.wrong = 0
        """How often one wrote beside another."""

    def wrote(self, pid: int) -> None:
        """Take one event."""
        last = self.writers[-1] if self.writers else None
        if pid == last:
            return
        if pid in self.writers or (last is not None and self._lives(last)):
            self.wrong += 1
        self.writers.append(pid)


class Writers:
    """A thread that listens while the block runs."""

    def __init__(self, disk: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        flags = FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE
        self._group = libc.fanotify_init(flags, os.O_RDONLY)
        mask, path = ctypes.c_uint64(FAN_MODIFY), os.fsencode(disk)
        if self._group < 0 or libc.fanotify_mark(
            self._group, FAN_MARK_ADD, mask, AT_FDCWD, path
        ):
            raise HostError(
                f"Nobody tells who writes to {disk} "
                f"({os.strerror(ctypes.get_errno())}): it needs root and fanotify."
            )
        self.succession = Succession()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        while not self._over.is_set():
            if not select.select([self._group], [], [], LOOK_SECONDS)[0]:
                continue
            said, at = os.read(self._group, EVENTS_BYTES), 0
            while at < len(said):
                length, *_, file, pid = EVENT.unpack_from(said, at)
                os.close(file)
                self.succession.wrote(pid)
                at += length

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._group)
