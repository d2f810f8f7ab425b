# SPDX-License-Identifier: Apache-2.0
"""Guests that really run, started as a user starts them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from observer.guests.guest import RUNTIME, find_guest, guest_names
from observer.guests.waiting import wait_until

UP_SECONDS = 240
OBSERVER = (sys.executable, "-m", "observer")


class Witness:
    """Second sources on a guest and its processes: /proc, /sys, QEMU's registers."""

    def __init__(self, guest):
        self.guest = guest

    @staticmethod
    def state(pid):
        """Return a process's state letter; X where it is gone."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return "X"

    @staticmethod
    def ran_ns(thread):
        """Return how long a thread has had a CPU."""
        return int(Path(f"/proc/{thread}/schedstat").read_text().split()[0])

    def vcpu_threads(self):
        """Return the threads that run guest code, by the names that QEMU gives them."""
        tasks = Path(f"/proc/{self.guest.pid}/task").iterdir()
        named = {(t / "comm").read_text().strip(): int(t.name) for t in tasks}
        return [named[f"CPU {cpu}/KVM"] for cpu in range(self.guest.spec.vcpus)]

    def disk_bytes(self):
        """Return how much the disk's back end has read."""
        return int(Path(f"/proc/{self.guest.disk_pid}/io").read_text().split()[1])

    def packets_from(self):
        """Return how many packets the guest has sent."""
        counter = f"/sys/class/net/{self.guest.tap}/statistics/rx_packets"
        return int(Path(counter).read_text())

    def run_state(self):
        """Return what QEMU itself says of the guest."""
        (answer,) = self.guest.qmp(("query-status", {}))
        return answer["status"]

    def registers(self):
        """Return for each vCPU whether interrupts are on and whether it is halted."""
        command = {"command-line": "info registers -a"}
        (text,) = self.guest.qmp(("human-monitor-command", command))
        flags = re.findall(r"RFL=([0-9a-f]+)", text)
        halted = re.findall(r"HLT=([01])", text)
        return [
            (bool(int(f, 16) & 0x200), h == "1")
            for f, h in zip(flags, halted, strict=True)
        ]


@pytest.fixture(scope="session")
def witness():
    """What looks at a guest from outside of what is under test."""
    return Witness


def _listens(process, name):
    assert process.poll() is None, "observer guest up has ended"
    return name in guest_names()


@pytest.fixture(scope="module")
def guest(image):  # noqa: ARG001 - it builds here, where a failure is plain to see
    """Keep a guest with two vCPUs up, for tests that leave it as it was."""
    argv = [*OBSERVER, "guest", "up", "lasting", "--vcpus", "2"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: _listens(process, "lasting"), UP_SECONDS, "a guest started")
        assert "lasting is up" in process.stdout.readline()
        yield find_guest("lasting")
        process.terminate()
    assert not (RUNTIME / "lasting").exists()
