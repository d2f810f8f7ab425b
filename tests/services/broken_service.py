# SPDX-License-Identifier: Apache-2.0
"""A service that is broken on purpose, an observer that mends it, and its users."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from observer.clock import MS
from observer.demo.voice import Voice, observer_running
from observer.errors import DeadlineError, ProgramError
from observer.guests.waiting import wait_until
from observer.loops.ladder import LADDERS
from observer.model import Result, StepKind, VerdictKind
from observer.services.control import order
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.record import Record, read_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observer.guests.traffic import Flow
    from observer.model import Outcome, Verdict

POLICY = """
[repair]
dry_run = false
care = {names}
rates = {{ vm = 1000, host = 1000, window = "1m" }}
[paths]
state = "{state}"
"""
USED = """
[repair.uses]
"{user}" = {names}
[repair.restart]
"{user}" = {{ recorded = true }}
[limits]
boot = "2s"
"""
"""Of a VM that has no more than its firmware to boot."""
# The ladders that are built in; in an emulated host that others load as well, a switch
# may take longer than the second that it has.
KINDS = (
    VerdictKind.PART_HUNG,
    VerdictKind.SERVICE_HUNG,
    VerdictKind.SERVICE_CRASHED,
    VerdictKind.VMM_CRASHED,
)
PATIENT = "".join(
    f"""
[[repair.ladders.{kind}]]
do = "{step.do}"
deadline = "30s"
tries = {step.tries}
{f'cool_down = "{step.cool_down_ns // MS}ms"' if step.cool_down_ns else ""}
"""
    for kind in KINDS
    for step in LADDERS[kind]
)
RESET, RESTART = StepKind.RESET_PART, StepKind.RESTART_SERVICE
OF_NET = {
    "nic-hang": RESET,
    "netback-hang": RESET,
    "service-hang": RESTART,
    "service-crash": RESTART,
    "kill": RESTART,
}
OF_DISK = {
    "disk-hang": RESET,
    "target-hang": RESET,
    "service-hang": RESTART,
    "service-crash": RESTART,
    "kill": RESTART,
}
# True of an emulated host with two CPUs on which VMs are started; no step helps.
STARVED = VerdictKind.BACKEND_STARVED
BLOCK_BYTES, BLOCKS = 4096, 64
BYPASS = os.O_RDWR | os.O_DIRECT
PAUSE_NS = 50_000_000  # between two arrivals: an outage, or the host did something else


class Service:
    """One that is up, to be broken."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, ServiceFolder(RUNTIME / name)

    def record(self) -> Record:
        """What its keeper says."""
        record = read_record(self.folder)
        assert record is not None
        return record

    def pid(self) -> int:
        """Of the VM that serves."""
        pid = self.record().pid
        assert pid is not None
        return pid

    def wait_for_spare(self) -> None:
        """Return when one stands by."""
        wait_until(lambda: self.record().spare is not None, 60, "there was a spare")

    def resets(self) -> int:
        """How often a part of this life was reset."""
        lines = asyncio.run(order(self.folder.vm.control, "stats", 10.0))
        found = (line.partition(" resets=")[2] for line in lines)
        return sum(int(number) for number in found if number)

    def salvaged(self) -> int:
        """Frames that this life found in hand, its own or another's."""
        lines = asyncio.run(order(self.folder.vm.control, "stats", 10.0))
        (line,) = (line for line in lines if line.startswith("stats net "))
        return int(line.split("salvaged=")[1].split()[0])

    def _control(self, *, spare: bool) -> Path:
        serving = int(self.folder.vm.path.readlink().name.removeprefix("vm"))
        return self.folder.seat(1 - serving if spare else serving).control

    def breaks(self, fault: str, *, spare: bool = False) -> None:
        """Inject a fault, into its spare if so wanted; `kill` is of the VMM."""
        if fault == "kill":
            pid = self.record().spare if spare else self.pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            return
        control = self._control(spare=spare)
        if not fault.startswith("service-"):
            asyncio.run(order(control, f"fault {fault}", 10.0))
            return
        with suppress(DeadlineError, ProgramError):  # it does not answer any more
            asyncio.run(order(control, f"fault {fault}", 0.5))


@contextmanager
def caring_for(
    services: tuple[Service, ...],
    folder: Path,
    log: str = "log",
    under: tuple[str, ...] = (),
    user: str | None = None,
) -> Iterator[Voice]:
    """An observer that mends these, and a VM that uses them all; it has seen them."""
    config = folder / "observer.toml"
    names = [service.name for service in services]
    cared = [*names, user] if user else names
    policy = POLICY.format(names=json.dumps(cared), state=folder / "state")
    if user:
        policy += USED.format(user=user, names=json.dumps(names))
    config.write_text(policy + PATIENT)
    options = "--config", str(config)
    with observer_running(folder / log, *options, under=under) as voice:
        for name in (f"vm: {name} " for name in cared):
            wait_until(lambda n=name: n in voice.notes(), 60, f"it saw {name}")
        yield voice


def mended(
    voice: Voice, service: Service, fault: str, step: StepKind, *, spare: bool = False
) -> float:
    """Break it, and wait until it is mended by this step; how many ms that took."""
    began_ns = time.monotonic_ns()
    service.breaks(fault, spare=spare)
    outcome = voice.wait_for_outcome(lambda o: o.monotonic_ns > began_ns, 60)
    heard = f"{fault}\n{told(voice.since(0), voice.outcomes())}\n{voice.notes()}"
    assert outcome is not None, heard
    by = outcome.result, outcome.step
    assert by == (Result.REPAIRED, step), heard
    return outcome.took_ns / 1e6


def check_mended_once(verdicts: list[Verdict], outcomes: list[Outcome], n: int) -> None:
    """As many faults as this were found and mended, each once, and nothing else.

    A VM that is slow to die is silent first and gone later: it may have two names.
    """
    heard = told(verdicts, outcomes)
    assert len({(v.pid, v.subject) for v in verdicts}) == n, heard
    assert [outcome.result for outcome in outcomes] == [Result.REPAIRED] * n, heard


def told(verdicts: list[Verdict], outcomes: list[Outcome]) -> str:
    """All of them, a line each."""
    found = (f"{v.time} {v.subject} {v.kind}: {v.evidence}" for v in verdicts)
    mended = (f"{o.time} {o.subject} {o.step} {o.result} {o.why}" for o in outcomes)
    return "\n".join(sorted([*found, *mended]))


def _missing(flow: Flow) -> str:
    """Which did not come, and how long nothing came there."""
    there, said = dict(zip(flow.received, flow.arrivals_ns, strict=True)), []
    for number in sorted(set(range(flow.sent)) - set(flow.received)):
        before, after = there.get(number - 1), there.get(number + 1)
        if before is not None and after is not None:
            said.append(f"{number}: {(after - before) / 1e6:.1f} ms between its like")
        else:
            said.append(f"{number}")
    return "; ".join(said)


def _overtaken(flow: Flow) -> str:
    """Which came after a later one, and the last pause before that."""
    newest, last_ns, pause = -1, flow.arrivals_ns[0], ""
    said: list[str] = []
    seen: set[int] = set()
    for number, at_ns in zip(flow.received, flow.arrivals_ns, strict=True):
        if at_ns - last_ns > PAUSE_NS:
            pause = f"{(at_ns - last_ns) / 1e6:.0f} ms before {number}"
        if number < newest and number not in seen:
            said.append(f"{number} after {newest}, {pause}")
        newest, last_ns = max(newest, number), at_ns
        seen.add(number)
    return "; ".join(said)


def check_arrived(flow: Flow, in_hand: int) -> None:
    """All came, in order; of those that a dead one had in hand, some twice."""
    arrived = list(dict.fromkeys(flow.received))
    why = f"missing: {_missing(flow)}; overtaken: {_overtaken(flow)}"
    assert arrived == list(range(flow.sent)), why
    assert len(flow.received) - len(arrived) <= in_hand


class Writer:
    """Writes numbered blocks past the cache, and reads each back, while it runs."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.count = 0
        self.errors: list[str] = []

    def _write(self) -> None:
        disk, block = os.open(self._disk, BYPASS), mmap.mmap(-1, BLOCK_BYTES)
        while not self._over.wait(0.005):
            at = (self.count * 7 % BLOCKS) * BLOCK_BYTES
            said = f"block {self.count} ".encode() * (BLOCK_BYTES // 16)
            block[:] = said[:BLOCK_BYTES].ljust(BLOCK_BYTES, b".")
            written = bytes(block)
            try:
                os.pwritev(disk, [block], at)
                os.preadv(disk, [block], at)
            except OSError as e:
                self.errors.append(f"block {self.count}: {e}")
                break
            if bytes(block) != written:
                self.errors.append(f"block {self.count} is not what was written")
            self.count += 1
        os.close(disk)

    def wait_for(self, count: int) -> None:
        """Return when so many more were written."""
        wanted = self.count + count
        wait_until(
            lambda: self.count >= wanted or bool(self.errors), 60, f"{count} blocks"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
