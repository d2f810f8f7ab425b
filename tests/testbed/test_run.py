# SPDX-License-Identifier: Apache-2.0
"""Nested hosts that really run, started as a user starts them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import LateSetpriv

# The first test may have to fetch a kernel.
pytestmark = [pytest.mark.testbed, pytest.mark.timeout(900)]

OBSERVER = (sys.executable, "-c", "from observer.cli import main; main()")
MEGABYTE = 1 << 20
NOISE = f"""
import os, sys
def write(stream, seed):
    stream.buffer.write(bytes(i * seed % 256 for i in range({MEGABYTE})))
write(sys.stdout, 7)
write(sys.stderr, 11)
sys.stdout.flush()
os._exit(3)
"""
FACTS = """
import json, os, socket, sys
from pathlib import Path
Path('/usr/observer-was-here').write_text('')
Path(sys.argv[1]).write_text('kept')
with socket.socket() as server:
    server.bind(('127.0.0.1', 0))
mounts = [line.split()[4] for line in open('/proc/self/mountinfo')]
print(json.dumps({
    'argv': sys.argv[2:],
    'cpus': sorted(os.sched_getaffinity(0)),
    'cwd': os.getcwd(),
    'devices': [d for d in ('kvm', 'vhost-net', 'net/tun') if Path('/dev', d).exists()],
    'headers': Path('/lib/modules', os.uname().release, 'build/Makefile').exists(),
    'mounts': mounts,
    'stdin': sys.stdin.read(),
    'uid': os.getuid(),
}))
"""


@contextmanager
def _running(
    *argv: str, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`observer testbed run` and its end, whatever the test does."""
    # A shell's background job has SIGINT ignored, and so would we have it.
    heeded = ["env", "--default-signal=INT"]
    process = subprocess.Popen(
        [*heeded, *OBSERVER, "testbed", "run", *argv],
        cwd=checkout(),
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _run(*argv: str) -> tuple[int, bytes, bytes]:
    """Exit status, standard output and standard error."""
    with _running(*argv) as process:
        out, err = process.communicate()
        return process.returncode, out, err


def _qemu_of(pid: int) -> list[str]:
    """The processes that write to this session's console log."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"-{pid}/console.log".encode() in arguments:
            found.append(entry.name)
    return found


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("kernel", "series"), [("debian-12", "6.1."), ("debian-13", "6.12.")]
)
def test_passes_on_status_and_both_outputs(kernel: str, series: str) -> None:
    """A megabyte of any bytes a stream arrives, unmixed, with the exit status."""
    say = f"import os; os.write(1, os.uname().release.encode()); {NOISE}"

    status, out, err = _run("--kernel", kernel, "--", sys.executable, "-c", say)

    assert status == 3, err[-500:]
    assert out.startswith(series.encode())
    expected = [bytes(i * seed % 256 for i in range(MEGABYTE)) for seed in (7, 11)]
    found = [out[-MEGABYTE:], err]
    assert [hashlib.sha256(data).digest() for data in found] == [
        hashlib.sha256(data).digest() for data in expected
    ]


def test_is_a_kvm_host_with_this_checkout() -> None:
    """KVM, vhost and headers are there; only what lies in the checkout stays."""
    root = checkout()
    kept = root / f"build/testbed/kept-{os.getpid()}"
    odd = ["a b", "$HOME", "it's", 'say "x"', "new\nline", "", "é", "--", "-x", "`id`"]

    status, out, err = _run("--", sys.executable, "-c", FACTS, str(kept), *odd)

    assert status == 0, err
    facts = json.loads(out)
    mounts = set(facts.pop("mounts"))
    kvm = json.loads((root / "build/testbed/kvm.json").read_text())["kvm"]
    assert facts == {
        "argv": odd,
        "cpus": [0, 1] if kvm else [1, 2],
        "cwd": str(root),
        "devices": ["kvm", "vhost-net", "net/tun"],
        "headers": True,
        "stdin": "",
        "uid": 0,
    }
    assert mounts >= {
        *("/sys/fs/bpf", "/sys/fs/cgroup"),
        *("/sys/kernel/debug", "/sys/kernel/tracing"),
    }
    assert kept.read_text() == "kept"
    kept.unlink()
    assert not Path("/usr/observer-was-here").exists()


def test_a_signal_is_passed_on_and_vhost_may_come_later() -> None:
    """A killed command gives 128 + N; without vhost_net there is no /dev/vhost-net."""
    script = "test -e /dev/vhost-net || kill -9 $$"

    status, _, err = _run("--no-vhost", "--", "sh", "-c", script)

    assert status == 137, err


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'BUG: made up' >/dev/kmsg", b"BUG: made up"),
        ("echo c >/proc/sysrq-trigger; sleep 99", b"Kernel panic - not syncing"),
    ],
)
def test_a_splat_fails_a_command_that_passed(script: str, said: bytes) -> None:
    """What the kernel complained of is shown, with the log, and the status is 123."""
    status, _, err = _run("--", "sh", "-c", script)

    assert status == 123, err
    assert said in err
    assert b"/console.log" in err


def test_a_command_that_is_not_there_gives_127() -> None:
    """As from a shell, with a sentence on standard error."""
    status, out, err = _run("--", "no-such-program")

    assert (status, out) == (127, b""), err
    assert b"no-such-program" in err


def test_sigterm_lets_the_command_end_well() -> None:
    """The command gets the signal and may still speak; then all is gone."""
    script = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.1; done"

    with _running("--", "sh", "-c", script) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()

    assert (first, out) == (b"up\n", b"bye\n"), err
    assert process.returncode == 143
    assert _qemu_of(process.pid) == []


def test_ctrl_c_while_booting_ends_it_at_once() -> None:
    """Before there is a command nothing is waited for."""
    with _running("--", "true") as process:
        _wait_until(lambda: _qemu_of(process.pid) != [], 60)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert process.returncode == 130
    assert _qemu_of(process.pid) == []


def test_the_deadline_gives_124() -> None:
    """After --timeout nothing is left but a sentence."""
    with _running("--timeout", "2", "--", "true") as process:
        _, err = process.communicate()

    assert process.returncode == 124, err
    assert b"--timeout" in err
    assert err.count(b"\n") == 1
    assert _qemu_of(process.pid) == []


def test_a_failed_boot_shows_the_end_of_the_log() -> None:
    """A nested host that does not come up is told apart from a failed command."""
    status, _, err = _run("--boot-timeout", "3", "--", "true")

    assert status == 125, err
    assert b"/console.log" in err


def test_no_qemu_outlives_a_killed_parent() -> None:
    """Even a parent that cannot clean up leaves no nested host behind."""
    with _running("--", "sleep", "99") as process:
        _wait_until(lambda: _qemu_of(process.pid) != [], 60)
        process.kill()
        process.communicate()

        _wait_until(lambda: _qemu_of(process.pid) == [], 5)


def test_no_qemu_is_started_for_a_killed_parent(late_setpriv: LateSetpriv) -> None:
    """One that dies before QEMU could ask to die with it leaves none either."""
    with _running("--", "sleep", "99", env=late_setpriv.env) as process:
        _wait_until(late_setpriv.pid.exists, 60)
        process.kill()
        process.communicate()

        _wait_until(lambda: _qemu_of(process.pid) == [], 30)
