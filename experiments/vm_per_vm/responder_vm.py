# SPDX-License-Identifier: Apache-2.0
"""The second VM: QEMU with the `responder` image, and the lines between it and us."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.errors import HostError, ProgramError
from observer.guests.children import child
from observer.services.launch import ECAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

__all__ = ["Responder", "responder_argv", "running_responder"]

MEMORY_MIB = 8  # the image has 43 KB
START_SECONDS, ANSWER_SECONDS = 30.0, 10.0
LAST_CHARACTERS = 300
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def responder_argv(
    vm: str, image: str, words: str, memory: tuple[int, int], control: int
) -> list[str]:
    """QEMU for the responder of a VM whose `memory` is a descriptor and its size.

    It can read that memory and not write it.
    """
    fd, size = memory
    other = f"memory-backend-file,id=other,size={size},share=on,readonly=on"
    return [
        *("qemu-system-x86_64", "-name", f"guest=responder-{vm},debug-threads=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-M", "microvm,pcie=on,pic=off,pit=off,rtc=off"),
        *("-accel", "kvm", "-cpu", "host", "-m", f"{MEMORY_MIB}M"),
        *("-kernel", image, "-append", f"{words} {ECAM}"),
        *("-chardev", f"socket,id=control,fd={control}"),
        *("-device", "virtio-serial-pci", "-device", "virtconsole,chardev=control"),
        *("-object", f"{other},mem-path=/proc/self/fd/{fd}"),
        *("-device", "ivshmem-plain,memdev=other", "-serial", "stdio"),
        *("-sandbox", SANDBOX),
    ]


@dataclass(frozen=True, slots=True)
class Responder:
    """One that is up."""

    pid: int
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def hear(self) -> str:
        """The next line; raises ProgramError where there will be none."""
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise ProgramError(f"The responder (pid {self.pid}) has ended.")
        return line.decode(errors="replace").strip()

    def say(self, line: str) -> None:
        """Order something; the answer is a line among others."""
        self._writer.write(line.encode() + b"\n")

    async def order(self, lines: Iterable[str]) -> None:
        """Order one thing after the other.  Raises ProgramError if one is refused."""
        for line in lines:
            self.say(line)
            answer = ""
            while answer != f"ok {line}":
                if answer == f"refused {line}":
                    raise ProgramError(f"The responder refused: {line}.")
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await self.hear()


def _checked(vm: str, image: Path, memory_fd: int) -> int:
    """The size of the memory, which ivshmem must be able to show."""
    if not image.exists():
        raise HostError(f"{image} is missing: build it with `make unikernels`.")
    size = os.fstat(memory_fd).st_size
    if size & (size - 1):
        raise ProgramError(
            f"{vm} has {size >> 20} MiB of memory: ivshmem takes a power of two."
        )
    return size


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-LAST_CHARACTERS:]


@asynccontextmanager
async def running_responder(
    vm: str, image: Path, words: str, memory_fd: int, log: Path
) -> AsyncIterator[Responder]:
    """Run a responder for a VM while the block does; it is up when that begins."""
    memory = (memory_fd, _checked(vm, image, memory_fd))
    ours, theirs = socket.socketpair()
    argv = responder_argv(vm, str(image), words, memory, theirs.fileno())
    with ours, child(argv, log, pass_fds=(memory_fd, theirs.fileno())) as process:
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        # Before the socket: the loop would not hear the next one of its number.
        with closing(writer):
            responder = Responder(process.pid, reader, writer)
            try:
                async with asyncio.timeout(START_SECONDS):
                    while not (await responder.hear()).startswith("up responder "):
                        pass
            except (ProgramError, TimeoutError) as error:
                raise ProgramError(
                    f"The responder of {vm} did not start: {_last_words(log)}"
                ) from error
            yield responder
