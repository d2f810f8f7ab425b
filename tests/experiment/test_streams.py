# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from observer.experiment.streams import STREAM_PERIOD, ByteStream, Datagrams
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATTERN = bytes(k % STREAM_PERIOD for k in range(1000))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def udp() -> socket.socket:
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind(("127.0.0.1", 0))
    wire.settimeout(0.1)
    return wire


def test_datagrams_go_and_come_numbered() -> None:
    """What one end sends the other one takes, each number once, in order."""
    with udp() as one, udp() as other:
        ends = one.getsockname(), other.getsockname()
        with Datagrams(one, ends[1], 0.001) as here, Datagrams(other, ends[0], 0.001):
            wait_until(lambda: len(here.arrivals) >= 20, 10, "20 had come")
        numbers = [arrival.number for arrival in here.arrivals]

    assert numbers == list(range(len(numbers)))
    assert here.sent >= 1


def test_a_stream_with_the_right_bytes_is_intact(listener: socket.socket) -> None:
    """In whatever pieces they come."""
    with ByteStream(listener) as stream:
        with socket.create_connection(listener.getsockname()) as wire:
            for at in (slice(0, 3), slice(3, 700), slice(700, 1000)):
                wire.sendall(PATTERN[at])
            wait_until(lambda: stream.bytes_total == 1000, 10, "all had come")

        assert stream.is_intact
        assert stream.connections == 1


def test_a_wrong_byte_is_noticed(listener: socket.socket) -> None:
    """One that was swapped in the middle."""
    with ByteStream(listener) as stream:
        with socket.create_connection(listener.getsockname()) as wire:
            wire.sendall(PATTERN[:500] + b"\xff" + PATTERN[501:])
            wait_until(lambda: stream.bytes_total == 1000, 10, "all had come")

        assert not stream.is_intact


def test_the_newest_stream_counts(listener: socket.socket) -> None:
    """The one before it need not have ended."""
    with ByteStream(listener) as stream:
        with (
            socket.create_connection(listener.getsockname()) as old,
            socket.create_connection(listener.getsockname()) as new,
        ):
            wait_until(lambda: stream.connections == 2, 10, "both were there")
            new.sendall(PATTERN[:10])
            wait_until(lambda: stream.bytes_total == 10, 10, "it had come")
            old.close()

        assert stream.is_intact
