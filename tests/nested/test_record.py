# SPDX-License-Identifier: Apache-2.0
"""A recording judged by the limits of the alarms says what the alarms said."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from typing import TYPE_CHECKING

import numpy as np
import pytest

from observer.clock import MS
from observer.config import Limits
from observer.daemon import OBJECTS
from observer.demo.voice import observer_running
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until
from observer.kernel.arm import Armed
from observer.kernel.libbpf import Libbpf
from observer.model import Suspicion, SuspicionKind
from observer.replay.event import Debt, What
from observer.replay.judge import ages_of, late_by
from observer.replay.recorder import recorder
from observer.replay.recording import name_of, read_recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage
    from observer.replay.judge import Late

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(300)]

BPFFS = Path("/sys/fs/bpf/observer-recorded")
LIMITS = {debt: int(getattr(Limits(), debt.name.lower())) for debt in Debt}
KINDS = {SuspicionKind.VCPU: Debt.VCPU, SuspicionKind.CALLED: Debt.CALLED}
SECONDS = 30
APART_NS = 5 * MS
"""Two programs on one tracepoint, on an emulated CPU."""
WELL_LATE = 1.5
NOBODY = 9  # listens there: the guest is called all the same


@contextmanager
def arm() -> Iterator[Armed]:
    """The programs, pinned in a folder of their own, with the limits that they have."""
    armed = Armed(Libbpf(), OBJECTS, {}, BPFFS)
    try:
        yield armed
    finally:
        armed.books.close(detach=True)


def owed(late: Late, debt: Debt, slot: int) -> list[tuple[int, int, bool]]:
    """Since when, how late and whether it was paid: of one debtor."""
    mine = (late.debt == debt) & (late.slot == slot)
    rows = zip(late.since_ns[mine], late.age_ns[mine], late.paid_ns[mine], strict=True)
    return [(int(since), int(age), bool(paid)) for since, age, paid in rows]


def test_what_the_alarms_said_is_in_it(image: GuestImage) -> None:
    """Of a guest that works, is called, and then spins with its interrupts off."""
    raised, events = list[Suspicion](), []
    spec = GuestSpec("record", subnet=37)
    with (
        linux_guest(spec, image) as guest,
        socket(AF_INET, SOCK_DGRAM) as wire,
        arm() as armed,
        recorder(Libbpf(), OBJECTS / "record.bpf.o", BPFFS) as programs,
    ):

        def read(kind: SuspicionKind | None = None) -> bool:
            wire.sendto(b"are you there", (spec.guest_address, NOBODY))
            programs.look()
            events.append(programs.take())
            raised.extend(armed.books.take())
            return any(s.kind is kind and s.tgid == guest.pid for s in raised)

        def reads_for(seconds: float) -> None:
            end = time.monotonic() + seconds
            wait_until(lambda: bool(read() or time.monotonic() > end), 60, "read")

        vms = programs.vmms
        wait_until(lambda: guest.pid in vms(), SECONDS, "the guest was seen")
        before = int(armed.books.vms[vms()[guest.pid]]["calls"])
        reads_for(2)  # it sleeps until it is called
        guest.order("busy net")
        reads_for(2)
        guest.order("irqoff-spin")
        wait_until(lambda: read(SuspicionKind.VCPU), SECONDS, "its vCPU was late")
        reads_for(0.5)
        vm, lost = vms()[guest.pid], programs.lost
        calls = int(armed.books.vms[vm]["calls"]) - before
        vcpus = armed.books.vcpus
        mine = np.flatnonzero((vcpus["vm"] == vm) & (vcpus["tid"] != 0))
    stream = np.concatenate(events)
    late, ages = late_by(stream, LIMITS), ages_of(stream)

    assert not lost
    assert calls > 10  # a busy network's, and not none on both sides
    assert ages.paid(Debt.VCPU) > 100
    assert ages.paid(Debt.BACKEND) > 10
    told = (stream["debt"] == Debt.CALLED) & (stream["what"] == What.RENEWED)
    assert int(told.sum()) == pytest.approx(calls, abs=3)
    said = [s for s in raised if s.kind in KINDS and s.vm == vm]
    assert {s.kind for s in said} >= {SuspicionKind.VCPU}
    for suspicion in said:
        debt = KINDS[suspicion.kind]
        its = owed(late, debt, suspicion.slot if debt is Debt.VCPU else vm)
        apart = [abs(since - suspicion.since_ns) for since, _, _ in its]
        assert min(apart, default=SECONDS * 10**9) < APART_NS, (suspicion, its)
    sinces = [s.since_ns for s in said if s.kind is SuspicionKind.VCPU]
    for slot in map(int, mine):
        for since, age, _ in owed(late, Debt.VCPU, slot):
            told = any(abs(since - other) < APART_NS for other in sinces)
            assert told or age < WELL_LATE * LIMITS[Debt.VCPU], (since, age, raised)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "observer", *words]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120
    )


def hang(guest: Guest, path: Path) -> None:
    """Record how the guest's vCPU hangs."""
    argv = [sys.executable, "-m", "observer", "record", str(path)]
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as recording,
        ExitStack() as stack,
    ):
        stack.callback(recording.kill)  # else what fails here waits for it for ever
        part = path.with_name(f"{path.name}.part")
        wait_until(part.exists, 2 * SECONDS, "it records")
        guest.order("irqoff-spin")
        end = time.monotonic() + 2
        wait_until(lambda: time.monotonic() > end, SECONDS, "it hung for a while")
        recording.terminate()
        assert recording.stdout is not None
        assert "events lost" in recording.stdout.read()
    assert recording.returncode == 0


def test_a_hang_is_recorded_and_judged_again(image: GuestImage, tmp_path: Path) -> None:
    """By the commands; without an observer beside there is nothing to record."""
    path = tmp_path / "hang.parquet"
    alone = run("record", str(path), "--for", "1s")
    assert alone.returncode != 0
    assert "observer run" in alone.stderr
    with (
        observer_running(tmp_path / "log") as voice,
        linux_guest(GuestSpec("replayed", subnet=38), image) as guest,
    ):
        wait_until(lambda: "vm: replayed " in voice.notes(), SECONDS, "it was seen")
        hang(guest, path)
    events, facts = read_recording(path)
    late = late_by(events, LIMITS)
    hung = (late.debt == Debt.VCPU) & (late.paid_ns == 0)

    assert "replayed" in {name_of(facts, Debt.VCPU, int(s)) for s in late.slot[hung]}
    assert facts.lost == 0
    shown = run("replay", str(path))
    assert "replayed" in shown.stdout, shown.stderr
    assert not list(tmp_path.glob("*.part"))
