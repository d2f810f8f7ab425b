# SPDX-License-Identifier: Apache-2.0
"""The host's ends of an experiment's streams: threads that send, take and check.

The other ends are in the guest: `load/load.c`.
"""

from __future__ import annotations

import select
import struct
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from pyroute2 import netns

from observer.experiment.arrivals import Arrival

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

__all__ = ["DATAGRAM_PORT", "STREAM_PORT", "ByteStream", "Datagrams", "in_namespace"]

DATAGRAM_PORT, STREAM_PORT = 4711, 4712  # load.c
STREAM_PERIOD = 251  # load.c: byte k is k % 251
NUMBER = struct.Struct("!I")
PIECE_BYTES = 1 << 16
WANTED = bytes(k % STREAM_PERIOD for k in range(PIECE_BYTES + STREAM_PERIOD))
LOOK_SECONDS = 0.2


@contextmanager
def in_namespace(name: str | None) -> Iterator[None]:
    """Sockets made in the block belong to this network namespace, if one is named."""
    if name is None:
        yield
        return
    netns.pushns(name)
    try:
        yield
    finally:
        netns.popns()


def _threads(*work: Callable[[], None]) -> list[threading.Thread]:
    return [threading.Thread(target=each, daemon=True) for each in work]


class Datagrams:
    """Sends numbered datagrams to the guest, and takes those that it numbered."""

    def __init__(
        self, wire: socket.socket, guest: tuple[str, int], period_s: float
    ) -> None:
        self._wire, self._guest, self._period_s = wire, guest, period_s
        self._over = threading.Event()
        self._running = _threads(self._send, self._take)
        self.sent = 0
        self.arrivals: list[Arrival] = []

    def _send(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period_s, time.monotonic())
            with suppress(OSError):  # no way there at this moment: it is not sent
                self._wire.sendto(NUMBER.pack(self.sent), self._guest)
                self.sent += 1

    def _take(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                said = self._wire.recv(NUMBER.size)
                came_ns = time.monotonic_ns()
                (number,) = NUMBER.unpack(said)
                self.arrivals.append(Arrival(number, came_ns))

    def __enter__(self) -> Self:
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._running:
            thread.join()


class ByteStream:
    """Takes the guest's newest TCP stream, and checks each byte of it."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._over = threading.Event()
        self._running = _threads(self._take)
        self.connections = 0
        self.bytes_total = 0
        """Of the newest connection."""
        self.is_intact = True

    def _take(self) -> None:
        wire: socket.socket | None = None
        while not self._over.is_set():
            wanted = [self._listener] if wire is None else [self._listener, wire]
            ready, _, _ = select.select(wanted, [], [], LOOK_SECONDS)
            if self._listener in ready:
                if wire is not None:
                    wire.close()
                wire, _ = self._listener.accept()
                self.bytes_total, self.connections = 0, self.connections + 1
            elif wire is not None and ready and not self._is_more(wire):
                wire.close()
                wire = None
        if wire is not None:
            wire.close()

    def _is_more(self, wire: socket.socket) -> bool:
        """Check what came; False once nothing more will."""
        try:
            came = wire.recv(PIECE_BYTES)
        except OSError:
            return False
        at = self.bytes_total % STREAM_PERIOD
        if came != WANTED[at : at + len(came)]:
            self.is_intact = False
        self.bytes_total += len(came)
        return bool(came)

    def __enter__(self) -> Self:
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._running:
            thread.join()
