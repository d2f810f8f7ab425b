# SPDX-License-Identifier: Apache-2.0
"""The process that keeps a service VM: its parent, and the holder of what outlives it.

A copy of each tap and of the memory stays here: frames for it wait while the VM is
gone, and the next one on this memory finds there what the last had in hand.  Not of
vhost: its worker would go on taking frames for a VM that is dead.  QEMU dies with its
keeper, and so do its taps and all that waits in them: nothing is held for ever.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import ObserverError, ProgramError, UsageError
from observer.guests.children import child
from observer.guests.folder import runtime_folder
from observer.guests.waiting import wait_until
from observer.services.abi import Abi
from observer.services.control import order
from observer.services.folder import ServiceFolder, service_folder
from observer.services.handed import kvm_group, opened, with_vhost
from observer.services.identity import user_of
from observer.services.images import ServiceSpec, images_file, read_images
from observer.services.launch import Handed, as_user, qemu_argv
from observer.services.parking import Parking
from observer.services.record import READY, Record

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["KeptVm", "kept_service", "main"]

UP_SECONDS = 30.0
ORDER_SECONDS = 5.0
RESET_SECONDS = 0.5  # while frames wait
HEAR_SECONDS = 1.0
HOLD_SECONDS = 60.0  # frames wait so long for a VM that nobody starts again
ENDS = (signal.SIGTERM, signal.SIGHUP)


def _ask(folder: ServiceFolder, line: str, seconds: float = ORDER_SECONDS) -> list[str]:
    return asyncio.run(order(folder.control, line, seconds))


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _check_alive(process: subprocess.Popen[bytes], *said: Path) -> None:
    if process.poll() is not None:
        words = " ".join(word for path in said for word in _text(path).split())
        raise ProgramError(
            f"QEMU ended with status {process.returncode}: "
            f"{words[-300:] or 'it said nothing'}."
        )


class KeptVm:
    """A service's VM, its present life, and what outlives that."""

    def __init__(
        self, spec: ServiceSpec, folder: ServiceFolder, ours: Handed, parking: Parking
    ) -> None:
        self._spec, self._folder = spec, folder
        self._ours, self._parking = ours, parking
        self._life = ExitStack()
        self.pid = 0
        """Of the newest life that came up; it may be over."""
        self.death: int | None = None
        """Readable when the VM has ended; None once that was seen."""

    def start(self) -> None:
        """Begin a life on the memory there is; returns when the service is up.

        Frames that come meanwhile wait for it: an AoE initiator that has backed off
        while its disk was away sends again too late for its users.
        """
        self._parking.hold()
        self._parking.empty_taps()
        folder, name = self._folder, self._folder.path.name
        user, log = user_of(name), folder.path / "qemu.log"
        for said in (folder.console, log):  # what a life before said
            said.unlink(missing_ok=True)
        with with_vhost(self._ours) as handed:
            argv = qemu_argv(self._spec, folder, handed)
            argv = [*as_user(user, kvm_group()), *argv]
            process = self._life.enter_context(child(argv, log, handed.all()))
        self.death = os.pidfd_open(process.pid)
        self._life.callback(self._forget_death)

        def is_up() -> bool:
            _check_alive(process, log, folder.console)
            return _text(folder.console).rstrip().endswith(" up")

        wait_until(is_up, UP_SECONDS, f"{name} was up")
        self._parking.release()
        Abi.of_header().check_version(_ask(folder, "version"))
        record = Record(name, process.pid, os.getpid(), user, self._spec)
        folder.record.write_bytes(msgspec.json.encode(record))
        self.pid = process.pid
        folder.ending.unlink(missing_ok=True)

    def _forget_death(self) -> None:
        if self.death is not None:
            os.close(self.death)
            self.death = None

    def has_died(self) -> None:
        """Hold the frames for the next life, at once."""
        self._forget_death()
        with suppress(ObserverError):  # nobody is there to be told
            self._parking.hold()

    def let_go(self) -> None:
        """Hold nothing any more: nobody has started it again."""
        with suppress(ObserverError):  # nor is anybody there to be told
            self._parking.release()

    def end(self) -> None:
        """End this life, on purpose."""
        self._folder.ending.touch()
        self._life.close()

    def forget(self) -> None:
        """Empty the memory between two lives: the next one finds nothing there."""
        size = os.fstat(self._ours.memory).st_size
        os.ftruncate(self._ours.memory, 0)
        os.ftruncate(self._ours.memory, size)

    def reset(self, part: str) -> None:
        """Reset a part of this life; no frame is lost.

        Where vhost cannot reset a queue alone QEMU has the tap meanwhile: it is to find
        nothing there.
        """
        self._parking.hold()
        try:
            self._parking.settle()
            self._parking.empty_taps()
            _ask(self._folder, f"reset {part}", RESET_SECONDS)
        finally:
            self._parking.release()

    def restart(self) -> None:
        """End this life, if it lasts, and begin the next; no frame is lost."""
        self._parking.hold()
        self.end()
        try:
            self.start()
        except ObserverError:
            self._life.close()
            raise


@contextmanager
def kept_service(
    name: str,
    spec: ServiceSpec,
    runtime: Path,
    images: Path,
    parks: Callable[[dict[str, int]], Parking] = Parking,
) -> Iterator[KeptVm]:
    """Run a service VM while the block does, which begins when the service is up."""
    folder = service_folder(runtime, name)
    if folder is None:
        raise UsageError(f"{name!r} is no name for a service.")
    user = user_of(name)
    with ExitStack() as stack:
        runtime.mkdir(parents=True, exist_ok=True)
        stack.enter_context(runtime_folder(folder.path))
        record = Record(name, None, os.getpid(), user, spec)
        folder.record.write_bytes(msgspec.json.encode(record))
        for path in (runtime, folder.path):  # its user must get through
            path.chmod(0o711)
        folder.vm.mkdir(mode=0o700)
        os.chown(folder.vm, user, user)
        spec, ours = stack.enter_context(opened(name, spec, images / spec.image))
        names = (port.tap for port in spec.ports)
        parking = parks(dict(zip(names, ours.taps, strict=True)))
        stack.callback(parking.close)
        vm = KeptVm(spec, folder, ours, parking)
        stack.callback(vm.end)
        vm.start()
        yield vm


def _carried_out(vm: KeptVm, words: list[str]) -> bool:
    """Do what one who means a certain life asks for; False where that makes no sense.

    A restart of a life that has had its successor has been done already.
    """
    match words:
        case ["restart", pid] if pid.isdecimal():
            if int(pid) == vm.pid:
                vm.restart()
            return True
        case ["reset", part, pid] if part.isalnum() and pid == str(vm.pid):
            vm.reset(part)
            return True
        case _:
            return False


def _obey(vm: KeptVm, wire: socket.socket) -> None:
    """One order, answered as a service does; whoever asks and goes gets no answer."""
    wire.settimeout(HEAR_SECONDS)
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


def _serve(vm: KeptVm, orders: socket.socket) -> None:
    """Take orders, and see the VM end; until a signal ends us.

    Its zombie stays, so that its number is nobody else's.
    """
    let_go: float | None = None
    while True:
        wanted = [fd for fd in (orders.fileno(), vm.death) if fd is not None]
        left = None if let_go is None else max(0.0, let_go - time.monotonic())
        ready, _, _ = select.select(wanted, [], [], left)
        if vm.death in ready:
            vm.has_died()
            let_go = time.monotonic() + HOLD_SECONDS
        if orders.fileno() in ready:
            wire, _ = orders.accept()
            with wire:
                _obey(vm, wire)
            let_go = None if vm.death is not None else time.monotonic() + HOLD_SECONDS
        if let_go is not None and time.monotonic() >= let_go:
            vm.let_go()
            let_go = None


def _end(number: int, _frame: FrameType | None) -> None:
    for more in ENDS:  # what is being taken away is taken away whole
        signal.signal(more, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _spec_of(name: str, file: Path) -> ServiceSpec:
    specs = read_images(file)
    if name not in specs:
        raise UsageError(f"There is no service {name} in {file}: {', '.join(specs)}.")
    return specs[name]


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
            _serve(vm, orders)
    except ObserverError as e:
        print(e.message, flush=True)  # noqa: T201
        return e.exit_code
    except Exception as e:  # noqa: BLE001 - nobody else hears of it
        print(f"The keeper of {name} failed, a bug in observer: {e!r}", flush=True)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
