# SPDX-License-Identifier: Apache-2.0
"""What is said of an agent that is silent, and of a port that hangs up."""

from __future__ import annotations

import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from experiment_program import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

SECONDS = 10.0
FAILURES = 3


class Port:
    """The guest's, with an agent of ours in place of the real one."""

    def __init__(self, module: ModuleType, folder: Path) -> None:
        self._take_ready, self._listener = module.take_ready, socket.socket(1)
        self._listener.bind(str(folder / module.SOCKET))
        self._listener.listen()
        self._listener.settimeout(SECONDS)
        files = SimpleNamespace(folder=folder)
        self.agent = module.Agent(SimpleNamespace(name="web1", pid=7, files=files))
        self.agent.ping()
        self._wire, _ = self._listener.accept()
        self._wire.settimeout(SECONDS)

    def close(self) -> None:
        """QEMU is gone: nobody listens any more."""
        self._listener.close()
        self._wire.close()
        self.agent.wire.close()

    def hang_up(self) -> None:
        """The same, seen by who asks."""
        self._listener.close()
        self._wire.close()
        self._take_ready([self.agent], SECONDS)

    def answer(self) -> None:
        """Answer the last ping, and have that taken."""
        asked = json.loads(self._wire.recv(1000).splitlines()[-1])
        answer = {"return": {}, "id": asked["id"]}
        self._wire.sendall(json.dumps(answer).encode() + b"\n")
        self._take_ready([self.agent], SECONDS)

    def miss(self, times: int) -> None:
        """Let so many pings go unanswered."""
        for _ in range(times):
            self.agent.ping()
            self.agent.miss(FAILURES)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    """One that has just been asked for the first time."""
    port = Port(program("guest_agent/guest_agent.py"), tmp_path)
    yield port
    port.close()


@pytest.fixture
def said(
    capsys: pytest.CaptureFixture[str],
) -> Callable[[], list[tuple[str, str]]]:
    """What kinds were said of whom since it was asked last."""

    def now() -> list[tuple[str, str]]:
        verdicts = map(json.loads, capsys.readouterr().out.splitlines())
        return [(verdict["kind"], verdict["subject"]) for verdict in verdicts]

    return now


def test_a_port_that_hangs_up_is_a_crash_at_once(
    port: Port, said: Callable[[], list[tuple[str, str]]]
) -> None:
    """Not again while nobody is there."""
    port.answer()
    assert not said()
    port.hang_up()
    assert said() == [("vmm-crashed", "web1")]
    port.miss(2 * FAILURES)
    assert not said()


def test_an_agent_hangs_after_so_many_silent_pings(
    port: Port, said: Callable[[], list[tuple[str, str]]]
) -> None:
    """One that answers between has them counted anew."""
    port.answer()
    port.miss(FAILURES - 1)
    port.agent.ping()
    port.answer()
    port.miss(FAILURES - 1)
    assert not said()
    port.miss(1)
    assert said() == [("guest-hung", "guest")]
    port.hang_up()
    assert not said()


def test_nothing_is_said_before_the_first_answer(
    port: Port, said: Callable[[], list[tuple[str, str]]]
) -> None:
    """Until then it boots."""
    port.agent.miss(1)
    port.hang_up()
    port.miss(FAILURES)
    assert not said()


def test_an_answer_after_its_time_is_none(
    port: Port, said: Callable[[], list[tuple[str, str]]]
) -> None:
    """Its ping has been missed."""
    port.answer()
    for _ in range(FAILURES):
        port.agent.ping()
        port.agent.miss(FAILURES)
        port.answer()
    assert said() == [("guest-hung", "guest")]


def test_only_one_that_can_answer_is_waited_for(port: Port) -> None:
    """Not one that has, nor one that is gone."""
    assert port.agent.is_awaited
    port.answer()
    assert not port.agent.is_awaited
    port.hang_up()
    port.agent.ping()
    assert not port.agent.is_awaited
