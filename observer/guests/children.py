# SPDX-License-Identifier: Apache-2.0
"""Starts programs that never outlive us and are surely gone at the end."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["child", "with_us"]

# The kernel says nothing of a parent that was dead before it was asked to.
_UNLESS_ORPHAN = ("sh", "-c", 'test "$PPID" = "$0" && exec "$@"')


def with_us(rights: Sequence[str] = ()) -> list[str]:
    """What to put before a command so that it dies with us, even if we die just now.

    It dies with the thread that starts it.  `rights` are setpriv's options.
    """
    # The order to die comes last: the kernel forgets it when the user changes.
    setpriv = ["setpriv", *rights, "--pdeathsig", "KILL", "--"]
    return [*setpriv, *_UNLESS_ORPHAN, str(os.getpid())]


@contextmanager
def child(
    argv: Sequence[str],
    log: Path,
    pass_fds: Sequence[int] = (),
    rights: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block does, killed even when stopped or hung.

    It dies with the thread that started it, so that must be one that lasts.  `rights`
    are setpriv's options.
    """
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                [*with_us(rights), *argv],
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
