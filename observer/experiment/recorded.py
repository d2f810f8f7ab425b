# SPDX-License-Identifier: Apache-2.0
"""Keeps a recording of all debts of the host while something goes on."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.guests.children import child
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["RECORDING", "recorded"]

RECORDING = "recording.parquet"
START_SECONDS = 120.0  # where the CPU is emulated
END_SECONDS = 60.0


@contextmanager
def recorded(file: Path, log: Path) -> Iterator[None]:
    """Have `observer record` write this file, whole when the block has ended.

    Beside a daemon that is armed.  ProgramError if it ends before, or leaves no file.
    """
    argv = (sys.executable, "-m", "observer", "record", str(file))
    part = file.with_name(f"{file.name}.part")
    with child(argv, log) as process:

        def check() -> None:
            if process.poll() is not None:
                said = log.read_text(errors="replace").strip()
                raise ProgramError(f"`observer record` ended: {said[-300:]}")

        def has_begun() -> bool:
            check()
            return part.exists()

        wait_until(has_begun, START_SECONDS, "`observer record` began")
        yield
        check()
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired as e:
            raise ProgramError(
                f"`observer record` did not end in {END_SECONDS:g} s."
            ) from e
    if not file.exists():
        said = log.read_text(errors="replace").strip()
        raise ProgramError(f"`observer record` left no recording: {said[-300:]}")
