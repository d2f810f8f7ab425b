# SPDX-License-Identifier: Apache-2.0
"""One question to a JSON line server (QMP, the guest agent), for those who poll.

A poller asks ten times a second; the library that we ask by elsewhere, which runs an
event loop for each question, would cost it more than the question itself.
"""

from __future__ import annotations

import json
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LineSocket"]

PIECE_BYTES = 1 << 16


class LineSocket:
    """A connection that is kept, and made again after it broke; nothing here blocks.

    A question has an `id`; an answer to an older one, or an event, is passed over.
    """

    def __init__(self, path: Path, *, greets: bool) -> None:
        self._path, self._greets = path, greets
        self._wire: socket.socket | None = None
        self._text = b""
        self._number = 0
        self.has_hung_up = False
        """The other end ended a connection that stood; until there is another."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        if self._wire is not None:
            self._wire.close()
        self._wire, self._text = None, b""

    def fileno(self) -> int | None:
        """What to wait for, if it is connected."""
        return None if self._wire is None else self._wire.fileno()

    def ask(self, command: str) -> bool:
        """Send a question; whether it could be sent."""
        try:
            if self._wire is None:
                self._connect()
            self._number += 1
            self._send(command, self._number)
        except (BrokenPipeError, ConnectionResetError):
            self._end()
            return False
        except OSError:
            self.close()
            return False
        return True

    def _connect(self) -> None:
        self._wire = socket.socket(socket.AF_UNIX)
        self._wire.setblocking(False)  # noqa: FBT003 - its only parameter
        self._wire.connect(str(self._path))
        self.has_hung_up = False
        if self._greets:
            self._send("qmp_capabilities", None)

    def _end(self) -> None:
        self.close()
        self.has_hung_up = True

    def _send(self, command: str, number: int | None) -> None:
        assert self._wire is not None  # noqa: S101 - ask() has made it
        order = {"execute": command} | ({} if number is None else {"id": number})
        self._wire.sendall(json.dumps(order).encode() + b"\n")

    def answer(self, deadline: float) -> dict[str, Any] | None:
        """The answer to the last question by a moment of time.monotonic(), or None."""
        while self._wire is not None:
            line, end, rest = self._text.partition(b"\n")
            if end:
                self._text = rest
                if (found := self._of_last(line)) is not None:
                    return found
                continue
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._wire], [], [], left)[0]:
                return None
            self._receive()
        return None

    def _of_last(self, line: bytes) -> dict[str, Any] | None:
        try:
            event = json.loads(line)
        except ValueError:
            return None  # the guest agent's port may begin with what was left in it
        is_it = isinstance(event, dict) and event.get("id") == self._number
        return event if is_it else None

    def _receive(self) -> None:
        assert self._wire is not None  # noqa: S101 - answer() has looked
        try:
            piece = self._wire.recv(PIECE_BYTES)
        except OSError:
            piece = b""
        if piece:
            self._text += piece
        else:
            self._end()
