# SPDX-License-Identifier: Apache-2.0
"""One life of a service VM: a QEMU from its start to its end, on what it is handed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from observer.errors import DeadlineError, ProgramError
from observer.guests.children import child
from observer.services.abi import Abi
from observer.services.control import order
from observer.services.handed import kvm_group, with_vhost
from observer.services.launch import as_user, qemu_argv
from observer.services.standstill import await_standstill, vhost_kthreads

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from observer.services.folder import VmFolder
    from observer.services.images import ServiceSpec
    from observer.services.launch import Handed

__all__ = ["Life"]

UP_SECONDS = 30.0
ORDER_SECONDS = 5.0


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _check_alive(process: subprocess.Popen[bytes], *said: Path) -> None:
    if process.poll() is not None:
        words = " ".join(word for path in said for word in _text(path).split())
        raise ProgramError(
            f"QEMU ended with status {process.returncode}: "
            f"{words[-300:] or 'it said nothing'}."
        )


class Life:
    """A VM from the start of its QEMU on; `is_up` says when it can serve.

    `end` it in any case: that frees its process's number.
    """

    def __init__(
        self, name: str, spec: ServiceSpec, folder: VmFolder, handed: Handed, user: int
    ) -> None:
        self._name, self._folder, self._stack = name, folder, ExitStack()
        self._log = folder.path.with_suffix(".log")
        self.death: int | None = None
        """Readable when it has ended; None once that was seen."""
        self.pid = 0
        self.is_ending = False
        self._kthreads: tuple[int, ...] = ()
        try:
            self._start(name, spec, handed, user)
        except BaseException:
            self.end()
            raise

    def _start(self, name: str, spec: ServiceSpec, handed: Handed, user: int) -> None:
        folder, log = self._folder, self._log
        for said in (folder.console, log):  # what a life before said
            said.unlink(missing_ok=True)
        with with_vhost(handed) as whole:
            argv = qemu_argv(name, spec, folder, whole)
            rights = as_user(user, kvm_group())
            process = self._stack.enter_context(child(argv, log, whole.all(), rights))
        self._process, self._until = process, time.monotonic() + UP_SECONDS
        self.pid = process.pid
        self.death = os.pidfd_open(process.pid)
        self._stack.callback(self.forget_death)

    def is_up(self) -> bool:
        """Whether it has come up; raises ObserverError where it cannot, or is late."""
        console = self._folder.console
        _check_alive(self._process, self._log, console)
        if not _text(console).rstrip().endswith(" up"):
            if time.monotonic() > self._until:
                raise DeadlineError(
                    f"{self._name} was not up within {UP_SECONDS:g} s: see {console}."
                )
            return False
        self._kthreads = self._kthreads or vhost_kthreads(self.pid)
        return True

    def check_version(self) -> None:
        """Raise where the image is of another version of the ABI."""
        Abi.of_header().check_version(self.ask("version"))

    def ask(self, line: str, seconds: float = ORDER_SECONDS) -> list[str]:
        """Give an order by its control port; what it said."""
        return asyncio.run(order(self._folder.control, line, seconds))

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.death is None or bool(select.select([self.death], [], [], 0)[0])

    def forget_death(self) -> None:
        """It has been seen."""
        if self.death is not None:
            os.close(self.death)
            self.death = None

    def kill(self) -> None:
        """Begin its end."""
        self.is_ending = True
        if self.death is not None:
            signal.pidfd_send_signal(self.death, signal.SIGKILL)

    def stands_still(self, seconds: float) -> bool:
        """Wait until nothing of it runs, after its kill; not until it has ended.

        What it has asked of its disk may still be done then.
        """
        return await_standstill(self.pid, self._kthreads, seconds)

    def end(self) -> None:
        """Kill it, if it lasts; it is gone, and its disk nobody's, on return."""
        self._stack.close()
