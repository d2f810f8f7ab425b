# SPDX-License-Identifier: Apache-2.0
"""A guest that makes batches of VM exits and tells how long each took.

It waits for a word before each, so that whoever is to observe it can be seen to do so.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import DeadlineError, HostError, ProgramError
from observer.guests.children import with_us

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ExitsGuest", "build_exits_guest", "exits_guest", "parse_result"]

START_SECONDS = 60.0
RUN_SECONDS = 300.0
BUILD_SECONDS = 60.0
_SOURCES = Path(str(files("observer.bench"))) / "exits"
_COMPILE = (
    *("gcc", "-m32", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding"),
    *("-fno-pic", "-no-pie", "-fno-stack-protector", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-mgeneral-regs-only", "-c"),
)
_LINK = ("ld", "-m", "elf_i386", "--no-warn-rwx-segments", "-T")


def _run(*argv: str) -> None:
    try:
        subprocess.run(
            argv, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
    except FileNotFoundError as e:
        raise HostError(f"{argv[0]} is missing: apt install gcc binutils.") from e
    except subprocess.CalledProcessError as e:
        raise ProgramError(
            f"{argv[0]} could not build the guest that exits: {e.stderr.strip()[-300:]}"
        ) from e


def build_exits_guest(folder: Path) -> Path:
    """Build the guest's image, which takes a moment, and say where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    made, image = folder / "exits.o", folder / "exits.elf"
    _run(*_COMPILE, str(_SOURCES / "exits.c"), "-o", str(made))
    _run(*_LINK, str(_SOURCES / "exits.lds"), str(made), "-o", str(image))
    return image


def parse_result(line: str) -> tuple[int, int]:
    """Return the exits that were made and the nanoseconds that they took."""
    match = re.fullmatch(r"exits=([0-9a-f]{16}) ns=([0-9a-f]{16})", line.strip())
    if not match:
        raise ProgramError(f"The guest that exits said {line.strip()!r}.")
    return int(match[1], 16), int(match[2], 16)


class ExitsGuest:
    """One such guest, by its serial port."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name, self._process, self._heard = name, process, b""
        if process.stdin is None or process.stdout is None:
            raise ProgramError("The guest that exits has no serial port.")
        self._to, self._from = process.stdin, process.stdout.fileno()

    def wait_until_up(self) -> None:
        """Return once the guest runs and waits for its word."""
        if self._line(START_SECONDS) != "up":
            raise ProgramError("The guest that exits did not come up.")

    def make_exits(self) -> tuple[int, int]:
        """Let it make a batch; how many exits, and in how many nanoseconds."""
        self._to.write(b"g")
        self._to.flush()
        return parse_result(self._line(RUN_SECONDS))

    def _line(self, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise DeadlineError(f"{self.name} said nothing for {seconds:.0f} s.")
            data = os.read(self._from, 4096)
            if not data:
                raise ProgramError(f"{self.name} ended: see its log.")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode(errors="replace").strip()


def _qemu(name: str, image: Path, exits: int) -> list[str]:
    return [
        *("qemu-system-x86_64", "-name", f"guest={name}"),
        *("-accel", "kvm", "-cpu", "host", "-M", "microvm", "-m", "16"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"),
        *("-kernel", str(image), "-append", f"exits={exits}"),
    ]


@contextmanager
def exits_guest(name: str, image: Path, exits: int, log: Path) -> Iterator[ExitsGuest]:
    """Run the guest while the block does; it waits for its word when that begins."""
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [*with_us(), *_qemu(name, image, exits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            guest = ExitsGuest(name, process)
            guest.wait_until_up()
            yield guest
        finally:
            process.kill()
