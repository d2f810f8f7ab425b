# SPDX-License-Identifier: Apache-2.0
"""Service VMs under plain emulation, with their wires and control port in our hands."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from observer.services.launch import ECAM
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IMAGES = checkout() / "build/unikernels"
SECONDS = 10.0
ADDRESS = "02:00:00:00:01:{:02x}"


class Wire:
    """The other end of a virtual cable: whole Ethernet frames.

    QEMU's `-netdev socket` puts the length of each frame in front, big-endian.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end, self._bytes = end, b""

    def send(self, *frames: bytes) -> None:
        """Put frames on the wire, in order."""
        for frame in frames:
            self._end.sendall(struct.pack("!I", len(frame)) + frame)

    def receive(self, seconds: float = SECONDS) -> bytes | None:
        """Take the next frame; None if none comes in time."""
        deadline = time.monotonic() + seconds
        while True:
            if len(self._bytes) >= 4:
                (length,) = struct.unpack_from("!I", self._bytes)
                if len(self._bytes) >= 4 + length:
                    frame = self._bytes[4 : 4 + length]
                    self._bytes = self._bytes[4 + length :]
                    return frame
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._end], [], [], left)[0]:
                return None
            data = self._end.recv(65536)
            assert data, "QEMU has ended"
            self._bytes += data

    def take(self, count: int) -> list[bytes]:
        """Take so many frames; fewer if the next does not come in time."""
        taken: list[bytes] = []
        while len(taken) < count and (frame := self.receive()) is not None:
            taken.append(frame)
        return taken


class Control:
    """Lines to and from the service."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._text = end, b""

    def say(self, line: str) -> None:
        """Send a line."""
        self._end.sendall(line.encode() + b"\n")

    def hear(self, wanted: Callable[[str], bool]) -> str:
        """Take lines until one is wanted."""
        deadline = time.monotonic() + SECONDS
        while True:
            line, end, rest = self._text.partition(b"\n")
            if end:
                self._text = rest
                if wanted(line.decode()):
                    return line.decode()
                continue
            left = deadline - time.monotonic()
            assert left > 0, f"nothing wanted was said; last {self._text!r}"
            if select.select([self._end], [], [], left)[0]:
                data = self._end.recv(4096)
                assert data, "QEMU has ended"
                self._text += data

    def order(self, line: str) -> str:
        """Say a line and take its answer: `ok …` or `refused …`."""
        self.say(line)
        return self.hear(lambda said: said in (f"ok {line}", f"refused {line}"))

    def stats(self, part: str) -> dict[str, int]:
        """Ask for the numbers of one part."""
        self.say("stats")
        line = self.hear(lambda said: said.startswith(f"stats {part} "))
        self.hear(lambda said: said == "ok stats")
        return {k: int(v) for k, _, v in (w.partition("=") for w in line.split()[2:])}


class ServiceVm:
    """A running service VM."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        wires: list[Wire],
        control: Control,
        console: Path,
    ) -> None:
        self.process, self.wires, self.control = process, wires, control
        self._console = console

    def console(self) -> str:
        """What it said on its serial port."""
        return self._console.read_text()


MACHINES = {
    "microvm": "microvm,acpi=off,pic=off,pit=off,rtc=off",
    "microvm-pci": "microvm,pcie=on,pic=off,pit=off,rtc=off",
    "q35": "q35",
}
BUS = {"microvm": "device", "microvm-pci": "pci", "q35": "pci"}


def _argv(
    machine: str, image: Path, words: str, console: Path, disk: Path | None
) -> list[str]:
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "16"]
    argv += ["-M", MACHINES[machine]]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-global", "virtio-mmio.force-legacy=false"]
    if machine == "microvm-pci":
        words = f"{words} {ECAM}"
    argv += ["-serial", f"file:{console}", "-kernel", str(image), "-append", words]
    if disk is not None:
        argv += ["-drive", f"if=none,id=d,format=raw,file={disk}"]
        argv += ["-device", f"virtio-blk-{BUS[machine]},drive=d"]
    return argv


@contextmanager
def service_vm(
    image: str,
    folder: Path,
    wires: int,
    words: str = "",
    disk: Path | None = None,
    *,
    machine: str = "microvm",
    memory: Path | None = None,
    other: Path | None = None,
) -> Iterator[ServiceVm]:
    """Run a service VM while the block does; it is up when that begins.

    Its memory is that of the file `memory`, where one is named; that of `other` is
    another VM's, for it to read.
    """
    bus = BUS[machine]
    console = folder / f"{image}.console"
    argv = _argv(machine, IMAGES / f"{image}.elf", words, console, disk)
    if memory is not None:
        ram = f"memory-backend-file,id=ram,size=16M,share=on,mem-path={memory}"
        argv += ["-object", ram, "-machine", "memory-backend=ram"]
    if other is not None:
        ram = "memory-backend-file,id=other,size=16M,share=on,readonly=on"
        argv += ["-object", f"{ram},mem-path={other}"]
        argv += ["-device", "ivshmem-plain,memdev=other"]
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(wires + 1)]
        for ours, _ in pairs:
            stack.enter_context(ours)
        fds = [theirs.fileno() for _, theirs in pairs]
        for k, fd in enumerate(fds[:-1]):
            argv += ["-netdev", f"socket,id=n{k},fd={fd}"]
            argv += [
                "-device",
                f"virtio-net-{bus},netdev=n{k},mac={ADDRESS.format(k)}",
            ]
        argv += ["-device", f"virtio-serial-{bus}"]
        argv += ["-device", "virtconsole,chardev=c"]
        argv += ["-chardev", f"socket,id=c,fd={fds[-1]}"]
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=fds)
        stack.enter_context(process)
        stack.callback(process.kill)
        for _, theirs in pairs:
            theirs.close()
        vm = ServiceVm(
            process,
            [Wire(ours) for ours, _ in pairs[:-1]],
            Control(pairs[-1][0]),
            console,
        )
        vm.control.hear(lambda said: said.startswith(f"up {image} "))
        yield vm
