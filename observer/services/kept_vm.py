# SPDX-License-Identifier: Apache-2.0
"""A service's VM, its spare, and what outlives both.

A copy of each tap and of the memory stays here: frames for the VM wait while it is
gone, and the next one finds in the memory what the last had in hand.  Not of vhost: its
worker would go on taking frames for a VM that is dead.  A spare is up all the time, on
queues that lead nowhere; a switch gives it those of the service.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from observer.errors import ObserverError, ProgramError, UsageError
from observer.guests.folder import runtime_folder
from observer.services.folder import service_folder
from observer.services.handed import in_use, opened, standing_by
from observer.services.identity import users_of
from observer.services.life import Life
from observer.services.parking import Parking
from observer.services.record import Record, write_record
from observer.services.tap_queue import give_back, let_queue_go, take_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from observer.services.folder import ServiceFolder, VmFolder
    from observer.services.images import ServiceSpec
    from observer.services.launch import Handed

__all__ = ["PAUSE_SECONDS", "KeptVm", "Seat", "kept_service"]

RESET_SECONDS = 0.5  # while frames wait
TAKE_OVER_SECONDS = 1.0
PAUSE_SECONDS = 0.02  # between two looks at one that comes up
STANDSTILL_SECONDS = 0.5  # then its end is waited for


class Seat:
    """Room for one of the two VMs: its folder, its user, what it is handed, its life.

    `held` closes its memory and its queues; `headers` says of a spare's queues how long
    the header of a frame is; `is_up` whether its life has come up and was told of.
    """

    def __init__(self, folder: VmFolder, user: int) -> None:
        self.folder, self.user = folder, user
        self.held = ExitStack()
        self.handed: Handed | None = None
        self.headers: tuple[int, ...] = ()
        self.life: Life | None = None
        self.is_up = False
        folder.path.mkdir(mode=0o700)
        os.chown(folder.path, user, user)

    def taps(self) -> tuple[int, ...]:
        """Its queues."""
        return self.handed.taps if self.handed is not None else ()

    def begin(self, name: str, spec: ServiceSpec) -> Life:
        """Begin a life, which comes up by itself."""
        if self.handed is None:
            raise AssertionError("it was handed nothing")
        self.life = Life(name, spec, self.folder, self.handed, self.user)
        return self.life

    def stand_by(self, handed: Handed) -> None:
        """Have what a spare is handed, the other's memory; of that a copy."""
        memory = handed.other_memory
        theirs = os.dup(memory) if memory is not None else None
        self.handed = replace(handed, other_memory=theirs)

    def forget_other(self) -> None:
        """Read no other's memory any more."""
        if self.handed is not None and self.handed.other_memory is not None:
            os.close(self.handed.other_memory)
            self.handed = replace(self.handed, other_memory=None)

    def end(self) -> None:
        """End its life, if it has one; then its disk is nobody's."""
        if self.life is not None:
            self.life.end()
            self.life, self.is_up = None, False

    def clear(self) -> None:
        """Hold nothing for it any more."""
        self.end()
        self.forget_other()
        self.held.close()
        self.handed = None


class KeptVm:
    """The VM that serves, its lives, and its spare where it is to have one."""

    def __init__(
        self,
        spec: ServiceSpec,
        folder: ServiceFolder,
        parking: Parking,
        seats: tuple[Seat, Seat],
    ) -> None:
        self._spec, self._folder, self._parking = spec, folder, parking
        self._name = folder.path.name
        self._serving, self._spare = seats
        self.pid = 0
        """Of the newest life that came up to serve; it may be over."""

    @property
    def life(self) -> Life | None:
        """Of the VM that serves; it may be over."""
        return self._serving.life

    @property
    def spare(self) -> Life | None:
        """Of the one that stands by; it may be over."""
        life = self._spare.life
        return None if life is None or life.is_ending or not self._spare.is_up else life

    @property
    def spare_comes(self) -> bool:
        """Whether one has begun, and is not up yet."""
        life = self._spare.life
        return life is not None and not life.is_ending and not self._spare.is_up

    @property
    def spare_death(self) -> int | None:
        """Readable when the spare, or the one that served before it, has ended."""
        return self._spare.life.death if self._spare.life is not None else None

    @property
    def wants_spare(self) -> bool:
        """Whether there is to be one, and is none, nor one that is ending."""
        return self._spec.spare and self._spare.life is None

    # -- lives ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life on the memory there is; returns when the service is up.

        Frames that come meanwhile wait for it: an AoE initiator that has backed off
        while its disk was away sends again too late for its users.
        """
        self._parking.hold()
        self._parking.empty_taps()
        try:
            life = self._serving.begin(self._name, self._spec)
            self._folder.begins(life.pid)
            while not life.is_up():
                time.sleep(PAUSE_SECONDS)
            self._take_over(life)
            self._parking.release()
            life.check_version()
        except ObserverError:
            self._serving.end()
            raise
        self._serves(life)

    def _take_over(self, life: Life) -> None:
        """Have it find what another VM had in hand, if there is one to be read.

        One that dies meanwhile leaves that, and what it found, to the next life.
        """
        handed = self._serving.handed
        if handed is not None and handed.other_memory is not None:
            life.ask("take over", TAKE_OVER_SECONDS)
            self._serving.forget_other()

    def _serves(self, life: Life) -> None:
        self.pid, self._serving.is_up = life.pid, True
        self._folder.vm_is(self._serving.folder)
        self._write_down()

    def _write_down(self) -> None:
        user, spare = self._serving.user, self.spare
        pids = self.pid or None, spare.pid if spare is not None else None
        write_record(
            self._folder,
            Record(self._name, pids[0], os.getpid(), user, self._spec, pids[1]),
        )

    def _kill(self, *seats: Seat) -> None:
        """End lives on purpose, which whoever watches them is to know before."""
        lives = [seat.life for seat in seats if seat.life is not None]
        self._folder.ends(*(life.pid for life in lives))
        for life in lives:
            life.kill()

    def end(self) -> None:
        """End all of it, on purpose."""
        self._kill(self._serving, self._spare)
        self._serving.end()
        self._spare.end()

    def forget(self) -> None:
        """Empty the memory of the VM that serves: nothing is found there any more."""
        if self._serving.handed is not None:
            memory = self._serving.handed.memory
            size = os.fstat(memory).st_size
            os.ftruncate(memory, 0)
            os.ftruncate(memory, size)

    def has_died(self) -> None:
        """Hold the frames for the next life, at once."""
        if self._serving.life is not None:
            self._serving.life.forget_death()
        with suppress(ObserverError):  # nobody is there to be told
            self._parking.hold()

    def lose_spare(self) -> bool:
        """See that whoever was in the spare's seat has ended; whether by itself."""
        life = self._spare.life
        self._spare.clear()
        self._write_down()
        return life is not None and not life.is_ending

    def let_go(self) -> None:
        """Hold nothing any more: nobody has started it again."""
        with suppress(ObserverError):  # nor is anybody there to be told
            self._parking.release()

    # -- repairs --------------------------------------------------------------------

    def reset(self, part: str) -> None:
        """Reset a part of this life; no frame is lost.

        Where vhost cannot reset a queue alone QEMU has the tap meanwhile: it is to find
        nothing there.
        """
        if self._serving.life is None:
            raise ProgramError(f"{self._name} is down: start it again.")
        self._parking.hold()
        try:
            self._parking.settle()
            self._parking.empty_taps()
            self._serving.life.ask(f"reset {part}", RESET_SECONDS)
        finally:
            self._parking.release()

    def restart(self) -> None:
        """End this life, if it lasts, and begin the next; no frame is lost."""
        self._kill(self._serving)
        self._parking.hold()  # while it dies
        self._serving.end()
        self.start()

    def switch(self) -> None:
        """End this life, if it lasts, and let the spare serve; no frame is lost.

        It reads the memory of the dead one, and sends first what that had in hand.
        The process of that may have some way to go until it has ended.
        """
        old, new, life = self._serving, self._spare, self.spare
        if life is None or life.is_over() or new.handed is None:
            raise ProgramError(f"{self._name} has no spare that is up: start it again.")
        self._kill(old)
        self._parking.hold()  # while it dies
        if old.life is not None and not self._is_out_of_the_way(old.life):
            old.end()
        self._parking.empty_taps()
        self._give_queues(old, new)
        self._serving, self._spare = new, old
        if old.life is None or old.life.is_over():
            old.clear()  # its end was seen before
        try:
            self._take_over(life)
        except ObserverError:
            new.end()
            raise
        self._parking.release()
        self._serves(life)

    def _is_out_of_the_way(self, old: Life) -> bool:
        """Whether one that was killed can do no harm, though it has not ended.

        A disk's may still write what it was about to, so only its end will do.
        """
        return self._spec.disk is None and old.stands_still(STANDSTILL_SECONDS)

    def _give_queues(self, old: Seat, new: Seat) -> None:
        names = [port.tap for port in self._spec.ports]
        try:
            for name, before, after, header in zip(
                names, old.taps(), new.taps(), new.headers, strict=True
            ):
                take_queue(name, before, after, header)
        except ObserverError:
            new.clear()
            for tap in old.taps():
                give_back(tap)
            raise
        self._parking.taps = dict(zip(names, new.taps(), strict=True))

    def stand_by(self) -> None:
        """Begin a spare anew; raises ObserverError where there is no room for one."""
        spare, serving = self._spare, self._serving.handed
        if serving is None:
            raise AssertionError("there is nobody to stand by for")
        self._kill(spare)
        spare.clear()
        try:
            handed = standing_by(self._name, self._spec, serving)
            spare.stand_by(spare.held.enter_context(handed))
            self._folder.begins(spare.begin(self._name, self._spec).pid)
        except ObserverError:
            spare.clear()
            raise
        finally:
            self._write_down()

    def see_spare(self) -> None:
        """See whether the one that comes is up; raises ObserverError where it cannot.

        It is not waited for: the one that serves may fail meanwhile.
        """
        spare = self._spare
        try:
            if spare.life is None or not spare.life.is_up():
                return
            spare.life.check_version()
            spare.headers = tuple(let_queue_go(tap) for tap in spare.taps())
        except ObserverError:
            spare.clear()
            raise
        spare.is_up = True
        self._write_down()

    def await_spare(self) -> None:
        """Wait for the one that comes, where nothing else is to be done."""
        while self.spare_comes:
            self.see_spare()
            time.sleep(PAUSE_SECONDS)


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
    users = users_of(name)
    with ExitStack() as stack:
        runtime.mkdir(parents=True, exist_ok=True)
        stack.enter_context(runtime_folder(folder.path))
        write_record(folder, Record(name, None, os.getpid(), users[0], spec))
        for path in (runtime, folder.path):  # its user must get through
            path.chmod(0o711)
        shared = stack.enter_context(opened(spec, images / spec.image))
        seats = Seat(folder.seat(0), users[0]), Seat(folder.seat(1), users[1])
        for seat in seats:
            stack.callback(seat.clear)
        use = in_use(name, spec, shared)
        spec, seats[0].handed = seats[0].held.enter_context(use)
        names = (port.tap for port in spec.ports)
        parking = parks(dict(zip(names, seats[0].taps(), strict=True)))
        stack.callback(parking.close)
        vm = KeptVm(spec, folder, parking, seats)
        stack.callback(vm.end)
        vm.start()
        if vm.wants_spare:
            vm.stand_by()
        vm.await_spare()
        yield vm
