# SPDX-License-Identifier: Apache-2.0
"""Orders to a guest over its second serial port: a line goes in, one line comes back.

An order that ends the guest is answered by the dying CPU as its last act, so the time
at which the answer arrives is the time of the effect, late by one wake-up of ours.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from observer.errors import DeadlineError, ProgramError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["order"]

DEADLINE_SECONDS = 10.0
PIECE_BYTES = 256


def _answer(port: socket.socket, deadline: float, line: str) -> tuple[bytes, int]:
    """Read to the end of a line; give it with the time at which the end was there."""
    said = b""
    while not said.endswith(b"\n"):
        port.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            piece = port.recv(PIECE_BYTES)
        except TimeoutError:
            raise DeadlineError(
                f"The guest did not answer {line!r} in time; see its console.log."
            ) from None
        if not piece:
            raise ProgramError(f"The guest's VMM went away during {line!r}.")
        said += piece
    return said, time.monotonic_ns()


def order(socket_path: Path, line: str, timeout: float = DEADLINE_SECONDS) -> int:
    """Give the guest an order; return the CLOCK_MONOTONIC nanoseconds of its answer."""
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as port:
        port.connect(str(socket_path))
        port.sendall(f"{line}\n".encode())
        said, at_ns = _answer(port, deadline, line)
    if said != f"ok {line}\n".encode():
        raise ProgramError(
            f"The guest answered {line!r} with {said.decode().strip()!r}."
        )
    return at_ns
