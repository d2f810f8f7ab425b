# SPDX-License-Identifier: Apache-2.0
"""The daemon's socket: one JSON request a line, one JSON answer, or a stream.

    {"do": "status"}    {"do": "events"}
    {"do": "inhibit", "vm": NAME, "for_ns": N}    {"do": "resume", "vm": NAME}
    {"do": "repair", "vm": NAME, "dry_run": BOOL}

Root may ask for all; members of the policy's group may only look.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import msgspec

from observer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from observer.model import Outcome, Verdict

__all__ = ["Request", "Server"]

LOOKING = frozenset({"status", "events"})
BACKLOG_EVENTS = 1000


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client asks for."""

    do: str
    vm: str = ""
    for_ns: int = 0
    dry_run: bool = False


class Server:
    """Answers on a unix socket; `answer` maps a request to a JSON-able value."""

    def __init__(
        self, path: Path, group: str | None, answer: Callable[[Request], Any]
    ) -> None:
        self._path, self._group, self._answer = path, group, answer
        self._listeners: set[asyncio.Queue[Verdict | Outcome]] = set()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; the socket is root's, and the group's to read."""
        self._path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(old)
        if self._group:
            try:
                gid = grp.getgrnam(self._group).gr_gid
            except KeyError as e:
                raise ConfigError(
                    f"group: there is no group {self._group}: create it (groupadd) "
                    "or leave the key out."
                ) from e
            os.chown(self._path, 0, gid)
            self._path.chmod(0o660)

    def publish(self, event: Verdict | Outcome) -> None:
        """Send an event to all who follow; one who reads too slowly loses some."""
        for queue in self._listeners:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(event)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)
        try:
            while line := await reader.readline():
                await self._one(line, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client left, or we do
        finally:
            writer.close()

    async def _one(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(line, type=Request)
            _check_right(request, writer)
            if request.do == "events":
                await self._stream(writer)
                return
            reply = {"ok": True, "value": self._answer(request)}
        except (msgspec.DecodeError, ValueError) as e:
            reply = {"ok": False, "error": str(e)}
        writer.write(msgspec.json.encode(reply) + b"\n")
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[Verdict | Outcome] = asyncio.Queue(BACKLOG_EVENTS)
        self._listeners.add(queue)
        try:
            while True:
                writer.write(msgspec.json.encode(await queue.get()) + b"\n")
                await writer.drain()
        finally:
            self._listeners.discard(queue)

    async def close(self) -> None:
        """Stop listening and let the clients go."""
        if self._server is not None:
            self._server.close()
            for task in list(self._clients):
                task.cancel()
            self._path.unlink(missing_ok=True)


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    size = struct.calcsize("3i")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])


def _check_right(request: Request, writer: asyncio.StreamWriter) -> None:
    if request.do not in LOOKING and _peer_uid(writer) != 0:
        raise ValueError(f"only root may {request.do}")
