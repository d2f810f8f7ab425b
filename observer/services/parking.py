# SPDX-License-Identifier: Apache-2.0
"""Keeps the frames for a VM while it is away: on the host, in order, within limits.

Each tap has the kernel's `plug` queue (net/sched/sch_plug.c), which passes all on until
it is told to hold.  Frames that are in the tap already when its VM dies are taken out:
QEMU reads one as soon as it has a tap, and throws it away once vhost is there (its
`virtio_net_vhost_status`).  They go in again, first, when the next VM serves the tap.
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress

from pyroute2 import IPRoute, NetlinkError

from observer.errors import HostError, ProgramError
from observer.guests.tap import tap_index
from observer.services.tap_queue import tap_header_bytes

__all__ = ["PARKED_BYTES", "Parking"]

PARKED_BYTES = 16 << 20  # for each tap; what comes beyond is dropped and counted there
SETTLE_SECONDS, PAUSE_SECONDS = 0.02, 0.001
LARGEST_FRAME = 1 << 17
PACKET_HEADER_BYTES = 10  # struct virtio_net_hdr, without the number of buffers
SOL_PACKET, PACKET_QDISC_BYPASS, PACKET_VNET_HDR = 263, 20, 15


def _taken_out(tap: int) -> list[bytes]:
    """All frames that wait in a tap, each behind a header as a packet socket has it."""
    header = tap_header_bytes(tap)
    os.set_blocking(tap, False)
    frames = []
    with suppress(BlockingIOError):
        while read := os.read(tap, LARGEST_FRAME):
            frames.append(read[:PACKET_HEADER_BYTES] + read[header:])
    return frames


def _straight_in() -> socket.socket:
    """Frames go by it into a tap past the queue that holds those that came later.

    Kept open, for its end waits for RCU (packet_release in net/packet/af_packet.c).
    """
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    return wire


class Parking:
    """The taps of one service, by name, with the queue that serves each."""

    def __init__(self, taps: dict[str, int]) -> None:
        self.taps, self._held = taps, False
        self._frames: dict[str, list[bytes]] = {}
        self._links = [tap_index(name) for name in taps]
        self._ip, self._wire = IPRoute(), _straight_in()
        try:
            self._tell("add", limit=PARKED_BYTES)
            self._tell("change", action="TCQ_PLUG_RELEASE_INDEFINITE")
        except HostError:
            self.close()
            raise

    def _tell(self, command: str, **what: object) -> None:
        try:
            for link in self._links:
                self._ip.tc(command, "plug", link, **what)
        except NetlinkError as e:
            raise HostError(
                f"Frames cannot be held on {', '.join(self.taps)} "
                f"({os.strerror(e.code)}): load the module sch_plug, and leave taps "
                "as they are."
            ) from e

    def hold(self) -> None:
        """From now on nothing reaches a tap; held is held, also when told twice."""
        if not self._held:
            self._tell("change", action="TCQ_PLUG_BUFFER")
            self._held = True

    def settle(self) -> None:
        """Let vhost take what it has room for, so that nobody else reads beside it."""
        deadline = time.monotonic() + SETTLE_SECONDS
        taps = list(self.taps.values())
        while select.select(taps, [], [], 0)[0] and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)

    def empty_taps(self) -> None:
        """Take out what waits in them; nobody else may read them meanwhile."""
        for name, tap in self.taps.items():
            self._frames[name] = self._frames.get(name, []) + _taken_out(tap)

    def release(self) -> None:
        """Let all go to whoever reads the taps, in the order in which it came."""
        try:
            for name, frames in self._frames.items():
                for frame in frames:
                    self._wire.sendto(frame, (name, 0))
        except OSError as e:
            raise ProgramError(
                f"Frames that waited for {', '.join(self.taps)} are lost "
                f"({e.strerror}): see that the taps are up."
            ) from e
        finally:
            self._frames.clear()
            if self._held:
                self._tell("change", action="TCQ_PLUG_RELEASE_INDEFINITE")
                self._held = False

    def close(self) -> None:
        """Hold nothing any more; the queues go with their taps."""
        self._ip.close()
        self._wire.close()
