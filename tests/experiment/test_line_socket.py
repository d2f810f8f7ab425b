# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from observer.experiment.line_socket import LineSocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOON = 5.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    """What QEMU listens on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        listener.settimeout(SOON)
        yield listener


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[LineSocket]:
    """The one that asks."""
    with LineSocket(tmp_path / "sock", greets=True) as asking:
        yield asking


def taken(end: socket.socket, lines: int) -> list[dict[str, object]]:
    """What came, so many lines of it."""
    text = b""
    while text.count(b"\n") < lines:
        text += end.recv(1000)
    return [json.loads(line) for line in text.splitlines()]


def say(end: socket.socket, *lines: object) -> None:
    end.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def test_an_answer_is_told_from_events_and_old_answers(
    server: socket.socket, wire: LineSocket
) -> None:
    """By its id; a greeting and the answer to the handshake have none."""
    assert wire.ask("query-status")
    end, _ = server.accept()
    with end:
        end.settimeout(SOON)
        assert [o["execute"] for o in taken(end, 2)] == [
            "qmp_capabilities",
            "query-status",
        ]
        say(end, {"QMP": {}}, {"return": {}}, {"event": "STOP"})
        assert wire.answer(time.monotonic()) is None

        assert wire.ask("query-status")
        (order,) = taken(end, 1)
        say(end, {"return": "late", "id": 1}, {"return": "now", "id": order["id"]})
        answer = wire.answer(time.monotonic() + SOON)
        assert answer is not None
        assert answer["return"] == "now"


@pytest.mark.usefixtures("server")
def test_a_mute_one_is_waited_for_no_longer_than_it_may(wire: LineSocket) -> None:
    """It has accepted nothing, and says nothing."""
    assert wire.ask("query-status")
    began = time.monotonic()

    assert wire.answer(began + 0.05) is None
    assert time.monotonic() - began < SOON


def test_it_connects_again(server: socket.socket, wire: LineSocket) -> None:
    """After the other end went away; half a line is nothing."""
    assert wire.ask("query-status")
    end, _ = server.accept()
    end.sendall(b'{"return": ')
    assert not wire.has_hung_up
    end.close()
    assert wire.answer(time.monotonic() + SOON) is None
    assert wire.has_hung_up

    assert wire.ask("query-status")
    assert not wire.has_hung_up
    end, _ = server.accept()
    with end:
        say(end, {"return": "here", "id": 2})
        assert wire.answer(time.monotonic() + SOON) is not None


def test_one_that_hung_up_while_nobody_listened_is_known_by_the_next_question(
    server: socket.socket, wire: LineSocket
) -> None:
    """It stays known while nobody is there."""
    assert wire.ask("query-status")
    end, _ = server.accept()
    end.close()
    server.close()
    for _ in range(2):
        assert not wire.ask("query-status")
        assert wire.has_hung_up
        assert wire.fileno() is None


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    """It is said by what it returns: a poller goes on."""
    with LineSocket(tmp_path / "none", greets=False) as asking:
        assert not asking.ask("guest-ping")
        assert asking.answer(time.monotonic() + SOON) is None
        assert not asking.has_hung_up
