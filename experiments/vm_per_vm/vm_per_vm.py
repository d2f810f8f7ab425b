# SPDX-License-Identifier: Apache-2.0
"""A second, tiny VM for each guest, which observes it by reading its memory.

This program only starts and ends the responders, tells them where to look, and looks at
the guest's VMM before it says what one has found, as an operator's tool would.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from findings import WELL, Monitor, finding_in, judged
from qemu.qmp import EventListener, QMPClient, QMPError, Runstate
from responder_vm import running_responder
from target import kernel_orders, memory_of, ring_orders, rings_of

from observer.errors import ObserverError, ProgramError
from observer.experiment.comparator import (
    say_armed,
    say_note,
    say_recovered,
    say_verdict,
    say_watched,
)
from observer.guests.guest import RUNTIME, Guest, find_guest, guest_names
from observer.inventory.qmp import run_state_of
from observer.inventory.task import look_at_task
from observer.model import RunState, VerdictKind
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from findings import Finding
    from responder_vm import Responder
    from target import Ring

__all__ = ["Watch", "lives"]

WORDS = "watch.ms=10 vcpu.ms=400 backend.ms=300 guest.ms=200"
LOOK_SECONDS = 1.0  # for guests that came or went
AGAIN_SECONDS = 5.0  # after a guest could not be watched
CONNECT_SECONDS = 10.0
SILENT_SECONDS = 0.2  # a monitor that does not answer in that time does not
PROC = Path("/proc")
UP, PID_FILE = "guest up", "qemu.pid"
QMP_GONE = (QMPError, OSError, EOFError)


class Life(NamedTuple):
    """A guest is another one when its VMM is another process."""

    name: str
    pid: int


def lives(known: Mapping[Life, object]) -> Iterator[tuple[Life, Guest | None]]:
    """The guests that are up now; those that are known are not looked at anew."""
    for name in guest_names():
        # It may go away while it is looked at.
        with suppress(ObserverError, OSError):
            life = Life(name, int((RUNTIME / name / PID_FILE).read_text()))
            if life in known:
                yield life, None
            elif UP in (guest := find_guest(name)).console():
                yield life, guest


class Watch:
    """A guest's responder at work, and what it has found."""

    def __init__(
        self, guest: Guest, monitor: QMPClient, responder: Responder, rings: list[Ring]
    ) -> None:
        self._guest, self._vmm, self._monitor = guest, PROC / str(guest.pid), monitor
        self._responder, self._rings = responder, rings
        self._events = EventListener(("STOP", "RESUME", "SHUTDOWN"))
        self._paused, self._forgetting, self._has_said = False, 0, False
        self._is_ending = False

    async def run(self) -> None:
        """Until the VMM has crashed, or the responder."""
        self._monitor.register_listener(self._events)
        tasks = {
            asyncio.create_task(heeds())
            for heeds in (self._heed_events, self._heed_responder, self._heed_end)
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()

    async def _heed_responder(self) -> None:
        while True:
            line = await self._responder.hear()
            if line == "ok forget":
                self._forgetting -= 1
                continue
            finding = None if self._forgetting else finding_in(line)
            if finding and await self._say(finding) is VerdictKind.VMM_CRASHED:
                return

    async def _heed_end(self) -> None:
        """A monitor that hangs up is a VMM that is gone, unless it was told to end."""
        while self._monitor.runstate is Runstate.RUNNING:
            await self._monitor.runstate_changed()
        unheeded = any(event["event"] == "SHUTDOWN" for event in self._events.clear())
        if not (self._is_ending or unheeded):
            name, now_ns = self._guest.name, time.monotonic_ns()
            kind = VerdictKind.VMM_CRASHED
            say_verdict(name, kind, now_ns, "its monitor hung up")

    async def _heed_events(self) -> None:
        """What was seen before a pause is worth nothing after it."""
        async for event in self._events:
            self._is_ending |= event["event"] == "SHUTDOWN"
            self._paused = event["event"] == "STOP"
            self._forgetting += 1
            self._responder.say("forget")

    async def _ask(self) -> Monitor:
        if self._paused:
            return Monitor.PAUSED
        if look_at_task(self._vmm).stopped:
            return Monitor.STOPPED
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                status: Any = await self._monitor.execute("query-status")
        except TimeoutError:
            return Monitor.SILENT
        except QMP_GONE:
            return Monitor.GONE
        paused = run_state_of(status["status"]) is RunState.PAUSED
        return Monitor.PAUSED if paused else Monitor.RUNNING

    async def _say(self, finding: Finding) -> VerdictKind | None:
        if finding.what == WELL and self._has_said:
            self._has_said = False
            say_recovered(self._guest.name)
        if finding.what == WELL:
            return None
        found_ns = time.monotonic_ns()
        monitor = Monitor.RUNNING if finding.what == "panic" else await self._ask()
        if self._forgetting or not self._events.empty():
            return None
        vcpus = self._guest.spec.vcpus
        if (said := judged(finding, monitor, vcpus, self._rings)) is None:
            return None
        say_verdict(
            self._guest.name,
            said.kind,
            found_ns - said.late_ns,
            said.evidence,
            subject=said.subject,
        )
        self._has_said = True
        return said.kind


@asynccontextmanager
async def _monitor_of(guest: Guest) -> AsyncIterator[QMPClient]:
    client = QMPClient("vm-per-vm")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.connect(str(guest.files.qmp))
    except (TimeoutError, *QMP_GONE) as error:
        raise ProgramError(f"The monitor of {guest.name} cannot be had.") from error
    try:
        yield client
    finally:
        with suppress(TimeoutError, *QMP_GONE):
            async with asyncio.timeout(SILENT_SECONDS):
                await client.disconnect()


async def _watch(guest: Guest, life: Life, words: str) -> None:
    """Have one life of a guest watched to its end."""
    build = checkout() / "build"
    image = build / "unikernels/responder.elf"
    log = guest.files.folder / "responder.log"
    with memory_of(life.pid) as memory_fd:
        async with (
            _monitor_of(guest) as monitor,
            running_responder(life.name, image, words, memory_fd, log) as responder,
        ):
            kernel = await asyncio.to_thread(
                kernel_orders,
                memory_fd,
                guest.spec.vcpus,
                build / "guests/symbols.json",
            )
            rings = await rings_of(monitor)
            watch = Watch(guest, monitor, responder, rings)
            await responder.order([*kernel, *ring_orders(rings), "watch"])
            say_watched(*life)
            await watch.run()


async def _keep_watching(guest: Guest, life: Life, words: str) -> None:
    """The same; where that cannot be it is said, and tried again after a while."""
    while True:
        try:
            return await _watch(guest, life, words)
        except (ObserverError, TimeoutError, *QMP_GONE) as error:
            say_note(f"{life.name} is not watched: {error}")
        await asyncio.sleep(AGAIN_SECONDS)


async def _main(began: float, words: str) -> None:
    tasks: dict[Life, asyncio.Task[None]] = {}
    say_armed(time.monotonic() - began)
    while True:
        now = dict(lives(tasks))
        for life, guest in now.items():
            if guest is not None:
                tasks[life] = asyncio.create_task(_keep_watching(guest, life, words))
        for life in tasks.keys() - now.keys():
            tasks.pop(life).cancel()
        await asyncio.sleep(LOOK_SECONDS)


async def _until_sigterm(began: float, words: str) -> None:
    """All that was started is taken away before this returns."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    watching = asyncio.create_task(_main(began, words))
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        await watching


def main() -> None:
    """Watch the guests that there are until told to end; words are the responders'."""
    began = time.monotonic()
    asyncio.run(_until_sigterm(began, " ".join([*sys.argv[1:], WORDS])))


if __name__ == "__main__":
    main()
