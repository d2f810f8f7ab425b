# SPDX-License-Identifier: Apache-2.0
"""The process that keeps a service VM: its parent, who takes orders about it.

What it keeps dies with it, and so do its taps and all that waits in them: nothing is
held for ever.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import syslog
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import ObserverError, UsageError
from observer.services.folder import ServiceFolder
from observer.services.images import ServiceSpec, images_file, read_images
from observer.services.kept_vm import PAUSE_SECONDS, kept_service
from observer.services.record import READY

if TYPE_CHECKING:
    from types import FrameType

    from observer.services.kept_vm import KeptVm

__all__ = ["main"]

HEAR_SECONDS = 10.0  # whoever has come to say something may have to wait for a CPU
LINE_SECONDS = 1.0  # from its first byte to its end
HOLD_SECONDS = 60.0  # frames wait so long for a VM that nobody starts again
SPARE_SECONDS = 10.0  # until the next, where there could be no spare, or it died
CALM_SECONDS = 1.0  # after a switch: what failed with it is to have the CPUs first
ENDS = (signal.SIGTERM, signal.SIGHUP)


def _carried_out(vm: KeptVm, words: list[str]) -> bool:
    """Do what one who means a certain life asks for; False where that makes no sense.

    What is to replace a life that has had its successor has been done already.
    """
    match words:
        case ["restart", pid] if vm.spare is not None and pid == str(vm.spare.pid):
            vm.stand_by()
            return True
        case ["restart", pid] if pid.isdecimal():
            if int(pid) == vm.pid:
                vm.restart()
            return True
        case ["switch", pid] if pid.isdecimal():
            if int(pid) == vm.pid:
                vm.switch()
            return True
        case ["reset", part, pid] if part.isalnum() and pid == str(vm.pid):
            vm.reset(part)
            return True
        case _:
            return False


def _obey(vm: KeptVm, wire: socket.socket) -> None:
    """One order, answered as a service does; whoever asks and goes gets no answer."""
    wire.settimeout(LINE_SECONDS)
    try:
        line = wire.makefile().readline(100).strip()
    except OSError:
        return
    try:
        answer = f"ok {line}" if _carried_out(vm, line.split()) else f"refused {line}"
    except ObserverError as e:
        answer = f"{e.message}\nrefused {line}"
    try:
        wire.sendall(f"{answer}\n".encode())
    except OSError:
        return


def _listen(orders: socket.socket, path: Path) -> None:
    """To root alone."""
    before = os.umask(0o177)
    orders.bind(str(path))
    os.umask(before)
    orders.listen()


class Served:
    """What a keeper waits for: orders, the end of its VMs, and what is due."""

    def __init__(self, vm: KeptVm, orders: socket.socket) -> None:
        self._vm, self._orders = vm, orders
        self._callers: dict[int, tuple[socket.socket, float]] = {}
        self._let_go: float | None = None
        self._spare_due = 0.0

    def wait(self) -> None:
        """Wait for the next thing, and see to it."""
        vm, now = self._vm, time.monotonic()
        death = vm.life.death if vm.life is not None else None
        waited_for = (self._orders.fileno(), death, vm.spare_death, *self._callers)
        wanted = [fd for fd in waited_for if fd is not None]
        due = [at for at in (self._let_go,) if at is not None]
        due += [until for _, until in self._callers.values()]
        due += [self._spare_due] if vm.wants_spare else []
        due += [now + PAUSE_SECONDS] if vm.spare_comes else []
        left = max(0.0, min(due) - now) if due else None
        ready, _, _ = select.select(wanted, [], [], left)
        if death in ready:
            vm.has_died()
            self._let_go = time.monotonic() + HOLD_SECONDS
        if self._orders.fileno() in ready:
            wire, _ = self._orders.accept()
            self._callers[wire.fileno()] = wire, time.monotonic() + HEAR_SECONDS
        caller = next((fd for fd in ready if fd in self._callers), None)
        if caller is not None:
            self._hear(self._callers.pop(caller)[0])
        elif vm.spare_death in ready and vm.lose_spare():
            # the next one may end so as well
            self._spare_due = time.monotonic() + SPARE_SECONDS
        self._see_to_what_is_due()

    def _hear(self, wire: socket.socket) -> None:
        before = self._vm.pid
        with wire:
            _obey(self._vm, wire)
        life = self._vm.life
        if self._vm.pid != before:
            self._spare_due = time.monotonic() + CALM_SECONDS
        lives = life is not None and life.death is not None
        self._let_go = None if lives else time.monotonic() + HOLD_SECONDS

    def _see_to_what_is_due(self) -> None:
        now = time.monotonic()
        for fd, (wire, until) in list(self._callers.items()):
            if now >= until:
                wire.close()
                del self._callers[fd]
        if self._let_go is not None and now >= self._let_go:
            self._vm.let_go()
            self._let_go = None
        try:
            if self._vm.spare_comes:
                self._vm.see_spare()
            elif self._vm.wants_spare and now >= self._spare_due:
                self._vm.stand_by()
        except ObserverError:  # the record says that there is none
            self._spare_due = time.monotonic() + SPARE_SECONDS


def _end(number: int, _frame: FrameType | None) -> None:
    for more in ENDS:  # what is being taken away is taken away whole
        signal.signal(more, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _spec_of(name: str, file: Path) -> ServiceSpec:
    specs = read_images(file)
    if name not in specs:
        raise UsageError(f"There is no service {name} in {file}: {', '.join(specs)}.")
    return specs[name]


def _tell(why: str) -> None:
    """Why it ends: to the one who started us, if he still listens, and to syslog."""
    syslog.openlog("observer-keeper", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR, why)
    with suppress(OSError):
        print(why, flush=True)  # noqa: T201


def main(runtime: str, images: str, name: str) -> int:
    """Keep one service until SIGTERM, even when it dies; say `up`, or why not."""
    for number in ENDS:
        signal.signal(number, _end)
    try:
        spec = _spec_of(name, images_file())
        with (
            kept_service(name, spec, Path(runtime), Path(images)) as vm,
            socket.socket(socket.AF_UNIX) as orders,
        ):
            _listen(orders, ServiceFolder(Path(runtime) / name).keeper)
            print(READY, flush=True)  # noqa: T201 - the one who started us waits for it
            served = Served(vm, orders)
            while True:
                served.wait()
    except ObserverError as e:
        _tell(e.message)
        return e.exit_code
    except Exception as e:  # noqa: BLE001 - nobody else hears of it
        _tell(f"The keeper of {name} failed, a bug in observer: {e!r}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
