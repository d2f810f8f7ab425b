# SPDX-License-Identifier: Apache-2.0
"""The program inside a nested host: gets a job, runs it, tells how it ended.

It is the nested host's first program, run by a bare interpreter: standard library
only, and of that only what is quick to import on an emulated CPU.
The machine outside ends the nested host; where that is gone, this program does it.
"""

from __future__ import annotations

import os
import select
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from observer.testbed.held_vm import hold_vm
from observer.testbed.protocol import (
    CONTROL,
    PORTS,
    STDERR,
    STDOUT,
    Alive,
    Ended,
    Failed,
    Job,
    Lines,
    Message,
    Ready,
    Signal,
    decode,
    encode,
)

__all__ = ["find_ports", "main"]

PORTS_DEADLINE_S = 30
HOST_GONE_GRACE_S = 30
CHUNK_BYTES = 65536
ALIVE_SECONDS = 5.0


class HostGoneError(Exception):
    """The machine outside closed the control port, or died."""


def find_ports(root: Path) -> dict[str, str]:
    """The device of each of our ports, by name, as far as the kernel has found them.

    There is no udev, hence no /dev/virtio-ports.
    """
    found = {}
    for port in root.glob("*"):
        name = (port / "name").read_text().strip()
        if name in PORTS:
            found[name] = f"/dev/{port.name}"
    return found


def _wait_for_ports() -> dict[str, str]:
    deadline = time.monotonic() + PORTS_DEADLINE_S
    while len(found := find_ports(Path("/sys/class/virtio-ports"))) < len(PORTS):
        if time.monotonic() > deadline:
            raise HostGoneError(f"only the ports {sorted(found)} appeared")
        time.sleep(0.02)
    return found


def _write_all(fd: int, data: bytes) -> None:
    """Write to a non-blocking port, waiting for room."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            if any(events & select.POLLHUP for _, events in poll.poll()):
                raise HostGoneError("a port is closed") from None


def _load(modules: tuple[str, ...]) -> str:
    """Load modules; what modprobe complained about if it failed, else nothing."""
    if not modules:
        return ""
    reader, writer = os.pipe()
    pid = os.posix_spawnp(
        "modprobe",
        ["modprobe", "-a", *modules],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writer, fd) for fd in (1, 2)],
    )
    os.close(writer)
    with open(reader, errors="replace") as pipe:  # noqa: PTH123 - a descriptor
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return " ".join(said.split()) or "modprobe failed" if status else ""


def _let_users_in(dev: Path) -> None:
    """Leave what VMMs open as udev would: they need not be root."""
    if (kvm := dev / "kvm").exists():
        kvm.chmod(0o666)


def _become(job: Job, stdout: int, stderr: int) -> None:
    """In the child: turn into the command, or end as a shell would."""
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.chdir(job.cwd)
        if job.cpus:
            os.sched_setaffinity(0, job.cpus)
        os.execvpe(job.argv[0], job.argv, job.env)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"observer: cannot run {job.argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


@dataclass
class _Stream:
    """One of the command's outputs on its way from a pipe to a port.

    The command gets a pipe and not the port itself because a port can be opened
    only once, and `/dev/stderr` would be a second time.
    """

    pipe: int
    port: int
    bytes_total: int = 0

    def pump(self) -> bool:
        """Pass on what is there; False once the pipe has ended."""
        data = os.read(self.pipe, CHUNK_BYTES)
        _write_all(self.port, data)
        self.bytes_total += len(data)
        return bool(data)

    def drain(self) -> None:
        """Pass on what is left, without waiting for those who could write more."""
        try:
            while self.pump():
                pass
        except BlockingIOError:
            pass


class Agent:
    """The nested end of the control port."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._lines = Lines()

    def send(self, message: Message) -> None:
        """Tell the host."""
        _write_all(self._control, encode(message))

    def receive(self) -> list[Message]:
        """What the host said; raises HostGoneError once it is gone."""
        try:
            data = os.read(self._control, CHUNK_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise HostGoneError("the control port is closed")
        return [decode(line) for line in self._lines.feed(data)]

    def wait_for_job(self) -> Job:
        """The first job that arrives."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            poll.poll()
            for message in self.receive():
                if isinstance(message, Job):
                    return message

    def run(self, job: Job, ports: tuple[int, int]) -> Ended:
        """Run the command to its end; its children may outlive it, unheard."""
        pipes = (os.pipe(), os.pipe())
        pid = os.fork()
        if pid == 0:
            _become(job, pipes[0][1], pipes[1][1])
        streams = []
        for (reader, writer), port in zip(pipes, ports, strict=True):
            os.close(writer)
            os.set_blocking(reader, False)
            streams.append(_Stream(reader, port))
        status = self._attend(pid, streams)
        for stream in streams:
            stream.drain()
        os.sync()
        out, err = (stream.bytes_total for stream in streams)
        return Ended(os.waitstatus_to_exitcode(status), out, err)

    def _attend(self, pid: int, streams: list[_Stream]) -> int:
        """Pass output on and signals in until the command ends; its wait status."""
        ended = os.pidfd_open(pid)
        poll = select.poll()
        by_fd = {stream.pipe: stream for stream in streams}
        for fd in (*by_fd, self._control, ended):
            poll.register(fd, select.POLLIN)
        said = time.monotonic()
        while True:
            ready = {fd for fd, _ in poll.poll(ALIVE_SECONDS * 1000)}
            if time.monotonic() - said >= ALIVE_SECONDS:
                said = time.monotonic()
                self.send(Alive())
            for fd in ready & by_fd.keys():
                # An ended pipe stays readable for ever; it is the command that counts.
                if not by_fd[fd].pump():
                    poll.unregister(fd)
                    del by_fd[fd]
            if self._control in ready:
                for message in self.receive():
                    if isinstance(message, Signal):
                        os.killpg(pid, message.number)
            if ended in ready:
                return os.waitpid(pid, 0)[1]


def _serve() -> None:
    devices = _wait_for_ports()
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    agent = Agent(os.open(devices[CONTROL], flags))
    agent.send(Ready(os.uname().release))
    job = agent.wait_for_job()
    if wrong := _load(job.modules):
        agent.send(Failed(wrong))
    else:
        _let_users_in(Path("/dev"))
        held = hold_vm()
        ports = (os.open(devices[STDOUT], flags), os.open(devices[STDERR], flags))
        agent.send(agent.run(job, ports))
        for fd in held:
            os.close(fd)
    time.sleep(HOST_GONE_GRACE_S)


def main() -> None:
    """Be the first program: serve one job in a child, bury orphans, end the machine."""
    child = os.fork()
    if child == 0:
        try:
            _serve()
        except HostGoneError as error:
            sys.stderr.write(f"observer: {error}\n")
        return
    while os.wait()[0] != child:
        pass
    # QEMU runs with -no-reboot: this is the quickest way out and needs no ACPI.
    Path("/proc/sysrq-trigger").write_text("b")
