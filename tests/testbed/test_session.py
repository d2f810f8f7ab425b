# SPDX-License-Identifier: Apache-2.0
"""The host's end of a session, with a small program in QEMU's place."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from observer.errors import NestedHostDeadlineError, NestedHostError
from observer.testbed.protocol import CONTROL, STDERR, STDOUT, Job
from observer.testbed.session import Limits, Session

JOB = Job(("true",), {}, "/", ())
PRELUDE = """
import os, socket, sys, time
from observer.testbed.protocol import *
console, *fds = sys.argv[1:]
control, out, err = (socket.socket(fileno=int(fd)) for fd in fds)
say = lambda message: control.sendall(encode(message))
hear = lambda: decode(control.makefile("rb").readline())
"""


@dataclass(frozen=True)
class _Fake:
    """Stands for a machine: its command line runs a script."""

    script: str

    def argv(self, console: Path, sockets: dict[str, int]) -> list[str]:
        fds = [str(sockets[port]) for port in (CONTROL, STDOUT, STDERR)]
        return [sys.executable, "-c", PRELUDE + self.script, str(console), *fds]


def _session(script: str, logs: Path, limits: Limits | None = None) -> Session:
    return Session(_Fake(script), logs, limits or Limits(20, 20))


def _run(script: str, logs: Path, limits: Limits | None = None) -> tuple[int, bytes]:
    """The status, and what went to standard output."""
    with (logs / "out").open("w+b") as out, _session(script, logs, limits) as session:
        status = session.run(JOB, out.fileno(), out.fileno())
        out.seek(0)
        return status, out.read()


def test_waits_for_output_that_comes_after_the_status(tmp_path: Path) -> None:
    """The ports are separate queues: the status may overtake the output."""
    script = """
say(Ready("6.1"))
assert hear().argv == ("true",)
say(Ended(3, 1_000_000, 5))
err.sendall(b"error")
time.sleep(0.2)
out.sendall(bytes(1_000_000))
time.sleep(60)
"""
    status, output = _run(script, tmp_path)

    assert status == 3
    assert len(output) == 1_000_005


def test_says_the_consoles_last_words_when_it_dies(tmp_path: Path) -> None:
    """A nested host that ends by itself is not mistaken for a command that did."""
    script = "open(console, 'w').write('Kernel panic'); say(Ready('6.1'))"

    with pytest.raises(NestedHostError, match="stopped before") as caught:
        _run(script, tmp_path)

    assert "Kernel panic" in caught.value.message
    assert caught.value.exit_code == 125


def test_says_what_qemu_said_when_there_is_no_console(tmp_path: Path) -> None:
    """QEMU's own complaints are shown where the kernel had no say."""
    with pytest.raises(NestedHostError, match="cannot allocate"):
        _run("sys.exit('cannot allocate memory')", tmp_path)


@pytest.mark.parametrize(
    ("script", "reset"),
    [
        ("", True),  # with -no-reboot a reset ends QEMU, well
        ("sys.exit(1)", False),
        ("say(Ready('6.1')); hear()", False),
    ],
)
def test_a_reset_in_the_boot_is_told_from_other_ends(
    tmp_path: Path, script: str, *, reset: bool
) -> None:
    """No program of ours had run; how QEMU ended is in the sentence."""
    with (
        _session(script, tmp_path) as session,
        pytest.raises(NestedHostError, match=r"QEMU ended with [01]\b"),
    ):
        session.run(JOB, 1, 2)

    assert session.reset_in_boot == reset


def test_gives_up_on_a_boot_that_leads_nowhere(tmp_path: Path) -> None:
    """No word within the boot's own limit is a failed boot."""
    with pytest.raises(NestedHostError, match=r"did not come up in 0\.5 s") as caught:
        _run("time.sleep(60)", tmp_path, Limits(boot_s=0.5))

    assert caught.value.exit_code == 125


def test_ends_a_command_at_the_deadline(tmp_path: Path) -> None:
    """A command that does not end gives the status that `timeout` gives."""
    with pytest.raises(NestedHostDeadlineError) as caught:
        _run("say(Ready('6.1')); time.sleep(60)", tmp_path, Limits(20, 1))

    assert caught.value.exit_code == 124


def test_a_host_that_falls_silent_hangs(tmp_path: Path) -> None:
    """Words keep it alive, also without output; else it is told before the end."""
    script = """
say(Ready("6.1"))
for _ in range(8):
    time.sleep(0.25)
    say(Alive())
time.sleep(60)
"""
    started = time.monotonic()

    with pytest.raises(NestedHostError, match="hangs") as caught:
        _run(script, tmp_path, Limits(20, 50, silence_s=1))

    assert caught.value.exit_code == 125
    assert 3 <= time.monotonic() - started < 20


def test_passes_on_why_a_host_is_not_usable(tmp_path: Path) -> None:
    """What modprobe said is in the sentence."""
    with pytest.raises(NestedHostError, match="no module kvm"):
        _run("say(Ready('6.1')); say(Failed('no module kvm'))\nhear()", tmp_path)


def test_a_reader_who_went_away_ends_it(tmp_path: Path) -> None:
    """As `| head` does; the sentence says so."""
    reader, writer = os.pipe()
    os.close(reader)
    script = "say(Ready('6.1')); out.sendall(b'x'); time.sleep(60)"

    with (
        _session(script, tmp_path) as session,
        pytest.raises(NestedHostError, match="nobody reads"),
    ):
        session.run(JOB, writer, writer)
    os.close(writer)


def test_a_reader_who_sleeps_does_not_stop_the_clock(tmp_path: Path) -> None:
    """A full pipe blocks neither the deadline nor the end of QEMU."""
    reader, writer = os.pipe()
    script = "say(Ready('6.1')); out.sendall(bytes(1 << 20)); time.sleep(60)"
    started = time.monotonic()

    with (
        _session(script, tmp_path, Limits(20, 1)) as session,
        pytest.raises(NestedHostDeadlineError, match="nobody had read"),
    ):
        session.run(JOB, writer, writer)

    assert time.monotonic() - started < 10
    os.close(reader)
    os.close(writer)


def test_an_interrupted_command_may_end_well(tmp_path: Path) -> None:
    """SystemExit reaches the command as SIGTERM, and its last words are passed on."""
    script = """
say(Ready("6.1"))
lines = control.makefile("rb")
decode(lines.readline())
out.sendall(b"up, ")
assert decode(lines.readline()) == Signal(15)
out.sendall(b"bye")
say(Ended(0, 7, 0))
time.sleep(60)
"""

    class _Clock:
        """Breaks in once the command runs."""

        broke_in = False

        def __call__(self) -> float:
            if not self.broke_in and (tmp_path / "out").read_text():
                self.broke_in = True
                raise SystemExit(143)
            return time.monotonic()

    limits = Limits(20, 20)
    with (
        (tmp_path / "out").open("w+b") as out,
        Session(_Fake(script), tmp_path, limits, _Clock()) as session,
    ):
        with pytest.raises(SystemExit):
            session.run(JOB, out.fileno(), out.fileno())
        out.seek(0)

        assert out.read() == b"up, bye"


def test_what_was_said_in_the_boot_is_told_from_the_rest(tmp_path: Path) -> None:
    """Nothing of ours ran before the host was ready."""
    script = """
log = open(console, "w", buffering=1)
log.write("stalled\\n")
say(Ready("6.1"))
hear()
log.write("a program's fault\\n")
say(Ended(0, 0, 0))
time.sleep(60)
"""
    with _session(script, tmp_path) as session:
        assert session.run(JOB, 1, 2) == 0

        assert session.said_in_boot() == "stalled\n"
        assert "fault" in session.console.read_text()
