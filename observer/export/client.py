# SPDX-License-Identifier: Apache-2.0
"""The other end of the daemon's socket, for the verbs that ask it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import msgspec

from observer.errors import DeadlineError, HostError, ObserverError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ask", "follow"]

DEADLINE_SECONDS = 5.0


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(DEADLINE_SECONDS)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError) as e:
        connection.close()
        raise HostError(
            f"No observer answers at {path}: start it (sudo observer run)."
        ) from e
    except PermissionError as e:
        connection.close()
        raise HostError(
            f"{path} is not yours to open: use sudo, or let your group in "
            "(key `group` in the policy)."
        ) from e
    return connection


def ask(path: Path, **request: Any) -> Any:
    """Ask once; the value of the answer."""
    with _connect(path) as connection, connection.makefile("rb") as lines:
        connection.sendall(msgspec.json.encode(request) + b"\n")
        try:
            line = lines.readline()
        except TimeoutError as e:
            raise DeadlineError(
                f"The observer at {path} did not answer in {DEADLINE_SECONDS:g} s: "
                "see its log."
            ) from e
    reply = msgspec.json.decode(line) if line else {"ok": False, "error": "it left"}
    if not reply["ok"]:
        raise ObserverError(f"The observer refused: {reply['error']}.")
    return reply["value"]


def follow(path: Path) -> Iterator[Any]:
    """Give each verdict and outcome as it is published, until the daemon ends."""
    with _connect(path) as connection, connection.makefile("rb") as lines:
        connection.settimeout(None)
        connection.sendall(b'{"do":"events"}\n')
        for line in lines:
            yield msgspec.json.decode(line)
