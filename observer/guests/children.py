# SPDX-License-Identifier: Apache-2.0
"""Starts programs that never outlive us and are surely gone at the end."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["child"]

_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


@contextmanager
def child(
    argv: Sequence[str], log: Path, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block does, killed even when stopped or hung.

    It dies with the thread that started it, so that must be one that lasts.
    """
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                [*_DIE_WITH_PARENT, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=pass_fds,
            )
        except FileNotFoundError as error:
            raise HostError(
                f"{error.filename} is missing; install util-linux."
            ) from error
    try:
        yield process
    finally:
        process.kill()
        process.wait()
