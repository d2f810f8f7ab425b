# SPDX-License-Identifier: Apache-2.0
"""Hosts on a bridge, each a network namespace, and numbered datagrams between them."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pyroute2 import netns

from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Flow", "host", "ip"]

PORT = 4711
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h
ROOM_BYTES = 16 << 20
NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/eth0")
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
BACKLOG_FRAMES = 16384
NUMBER = struct.Struct("!I")
LAST_SECONDS = 3.0
IP_SECONDS = 60.0
APART_SECONDS = 0.003


def ip(*words: str) -> None:
    """Run iproute2's ip."""
    subprocess.run(["ip", *words], check=True, timeout=IP_SECONDS)


@contextmanager
def _room_in_backlog() -> Iterator[None]:
    """For what waited in an outage and comes at once: by default 1,000 fit.

    The rest would be lost before the receiver (net/core/dev.c, enqueue_to_backlog).
    """
    before = BACKLOG.read_text()
    BACKLOG.write_text(str(max(BACKLOG_FRAMES, int(before))))
    try:
        yield
    finally:
        BACKLOG.write_text(before)


@contextmanager
def host(name: str, bridge: str, address: str) -> Iterator[socket.socket]:
    """A UDP socket on a host of its own, joined to the bridge."""
    with _room_in_backlog(), _own_host(name, bridge, address) as end:
        yield end


def _keep_order(device: str) -> None:
    """Have one CPU take all that arrives at one end of a veth.

    Else it is the one that sent it: of a sender that has moved to another CPU, the last
    frames wait in the first one's backlog and are overtaken (net/core/dev.c, netif_rx).
    """
    Path(f"/sys/class/net/{device}/queues/rx-0/rps_cpus").write_text("1")


@contextmanager
def _own_host(name: str, bridge: str, address: str) -> Iterator[socket.socket]:
    ip("netns", "add", name)
    try:
        ends = f"v-{name}", f"n-{name}"
        ip("link", "add", ends[0], "type", "veth", "peer", ends[1])
        for name_of_end in ends:
            _keep_order(name_of_end)
        ip("link", "set", ends[0], "master", bridge, "up")
        ip("link", "set", ends[1], "netns", name, "name", "eth0")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        netns.pushns(name)
        try:
            # Else a host asks anew for its neighbour in the midst of an outage, gets no
            # answer, and drops what it has to send itself: longer than the test lasts,
            # also for an address that it has from being asked, which it asks back for.
            (NEIGHBOURS / "base_reachable_time_ms").write_text("3600000")
            (NEIGHBOURS / "delay_first_probe_time").write_text("3600")
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        finally:
            netns.popns()
        with end:
            # Room for all that waits somewhere, and comes at once: by default 277 small
            # datagrams fit.  What comes beyond would be lost here, and who has sent so
            # many that wait on this host could send no more.
            for room in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
                end.setsockopt(socket.SOL_SOCKET, room, ROOM_BYTES)
            end.bind((address, PORT))
            end.settimeout(LAST_SECONDS)
            yield end
    finally:
        ip("netns", "delete", name)


class Flow:
    """Numbered datagrams from one host to another while the block runs.

    The first goes alone: the others are sent when it has arrived.
    """

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self._sender, self._receiver = sender, receiver
        self._over = threading.Event()
        self.sent = 0
        self.received: list[int] = []
        self.arrivals_ns: list[int] = []
        self._threads = [threading.Thread(target=t) for t in (self._send, self._take)]

    def _send(self) -> None:
        while not self._over.wait(APART_SECONDS):
            if self.sent and not self.received:
                # Linux lets a datagram that finds its neighbour's address overtake
                # those that waited for it (net/core/neighbour.c, __neigh_update).
                continue
            self._sender.sendto(NUMBER.pack(self.sent), self._receiver.getsockname())
            self.sent += 1

    def _take(self) -> None:
        while True:
            try:
                (number,) = NUMBER.unpack(self._receiver.recv(NUMBER.size))
                self.arrivals_ns.append(time.monotonic_ns())
                self.received.append(number)
            except TimeoutError:
                if self._over.is_set():
                    return  # silent for as long as nothing can still be under way

    @property
    def out_of_order(self) -> list[tuple[int, int]]:
        """Each datagram that came after one sent later, or twice, behind that one."""
        return [(a, b) for a, b in pairwise(self.received) if b <= a]

    def silence_ns(self, since_ns: int) -> int:
        """The longest time without an arrival that ended after a moment."""
        pairs = pairwise(list(self.arrivals_ns))
        return max((b - a for a, b in pairs if b > since_ns), default=0)

    def wait_for(self, count: int, seconds: float = 60.0) -> None:
        """Return when so many more have arrived."""
        wanted = len(self.received) + count
        wait_until(
            lambda: len(self.received) >= wanted, seconds, f"{count} datagrams more"
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
