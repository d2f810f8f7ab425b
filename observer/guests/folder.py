# SPDX-License-Identifier: Apache-2.0
"""A guest's runtime folder, which is its record: locked while its keeper lives.

A keeper that was killed leaves the folder behind but not the lock, so that a folder
alone proves nothing, and the next guest of that name clears it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["is_kept", "runtime_folder"]

_LOCK = "lock"


def _locked(folder: Path, operation: int) -> int | None:
    """Return a descriptor that holds the folder's lock, or None where another does."""
    held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held


def is_kept(folder: Path) -> bool:
    """Whether the guest's keeper lives."""
    if not (folder / _LOCK).exists():
        return False
    held = _locked(folder, fcntl.LOCK_SH)
    if held is not None:
        os.close(held)
    return held is None


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


@contextmanager
def runtime_folder(folder: Path) -> Iterator[None]:
    """Keep a folder that only we enter while the block runs."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = _locked(folder, fcntl.LOCK_EX)
    if held is None:
        raise UsageError(f"A guest {folder.name} is up already; take another name.")
    try:
        _empty(folder)
        yield
    finally:
        shutil.rmtree(folder)
        os.close(held)
