# SPDX-License-Identifier: Apache-2.0
import socket
import threading
import time

import pytest

from observer.errors import DeadlineError, ProgramError
from observer.guests.control import order


@pytest.fixture
def port(tmp_path):
    """A control port whose guest answers once with the given pieces."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threads = []

        def answer_with(*pieces, hold=None):
            def serve():
                client, _ = server.accept()
                with client:
                    client.recv(100)
                    for piece in pieces:
                        client.send(piece)
                    if hold:
                        hold.wait(10)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return path

        yield answer_with
        for thread in threads:
            thread.join(10)


def test_the_answer_gives_its_time(port):
    """In whatever pieces it comes, the time is that of the line's end."""
    before = time.monotonic_ns()

    at_ns = order(port(b"ok ", b"ping", b"\n"), "ping", timeout=5)

    assert before < at_ns < time.monotonic_ns()


def test_a_refusal_is_an_error(port):
    """What the guest said is in the sentence."""
    with pytest.raises(ProgramError, match="refused fly"):
        order(port(b"refused fly\n"), "fly", timeout=5)


def test_a_dead_vmm_is_an_error(port):
    """The end of the connection does not look like an answer."""
    with pytest.raises(ProgramError, match="went away"):
        order(port(b"ok pi"), "ping", timeout=5)


def test_silence_ends_at_the_deadline(port):
    """A guest that cannot answer does not hold up its asker."""
    hold = threading.Event()
    path = port(hold=hold)

    with pytest.raises(DeadlineError, match="did not answer 'ping'"):
        order(path, "ping", timeout=0.1)

    hold.set()
