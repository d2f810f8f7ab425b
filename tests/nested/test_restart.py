# SPDX-License-Identifier: Apache-2.0
"""Guests whose VMM or back end is gone are given another, under a running observer."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bare_vmm import bare_vmm

from observer.demo.voice import observer_running
from observer.guests.launch import GuestSpec
from observer.guests.linux import last_words, linux_guest, wait_for_guest
from observer.guests.waiting import wait_until
from observer.inject.faults import GUEST_FAULTS
from observer.inject.injection import inject
from observer.model import Outcome, Result, StepKind, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.demo.voice import Voice
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage

pytestmark = [
    pytest.mark.nested,
    pytest.mark.newest,
    pytest.mark.vm,
    pytest.mark.timeout(500),
]

POLICY = """
[repair]
dry_run = false
care = ["web", "handed", "alone"]
in_order = ["web"]
[repair.restart]
"web" = { recorded = true }
[[repair.ladders.vmm-stopped]]
do = "restart-vm"
deadline = "2m"
[[repair.ladders.backend-hung]]
do = "restart-backend"
deadline = "1m"
[[repair.ladders.backend-crashed]]
do = "restart-backend"
deadline = "1m"
"""
"""In an emulated host that others load as well, a step may take long."""
LOCK = Path("/run/observer/lock")
SECONDS = 60
BOOT_SECONDS = 150
USER = 64_100
MORE_BYTES = 4 << 20


@contextmanager
def caring(folder: Path, more: str = "") -> Iterator[Voice]:
    config = folder / "observer.toml"
    config.write_text(f'{POLICY}[paths]\nstate = "{folder}/state"\n{more}')
    with observer_running(folder / "log", "--config", str(config)) as voice:
        try:
            yield voice
        finally:
            sys.stdout.write(voice.notes())


@contextmanager
def left_by_repairs(guest: Guest) -> Iterator[None]:
    """Whoever was started by the observer is nobody's child: end them here."""
    try:
        yield
    finally:
        sys.stdout.write(f"{last_words(guest)}\n")
        for pid in (guest.pid, guest.disk_pid):
            end(pid)


def end(pid: int) -> None:
    """Kill a process, and see it gone: it may hold a tap."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    signal.pidfd_send_signal(process, signal.SIGKILL)
    assert select.select([process], [], [], SECONDS)[0]
    os.close(process)


def words(pid: int) -> bytes:
    """Of a process's command line; nothing where it is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def written(guest: Guest) -> int:
    fields = Path(f"/proc/{guest.disk_pid}/io").read_text().split()
    return int(fields[fields.index("wchar:") + 1])


def goes_on_writing(guest: Guest) -> None:
    wanted = written(guest) + MORE_BYTES
    wait_until(lambda: written(guest) > wanted, SECONDS, "the guest wrote more")


def outcome_since(
    voice: Voice, name: str, since_ns: int, subject: str | None = None
) -> Outcome:
    """What came of a fault in the end."""
    found = voice.wait_for_outcome(
        lambda o: (
            o.vm == name
            and subject in (None, o.subject)
            and o.monotonic_ns > since_ns
            and o.result in (Result.REPAIRED, Result.ESCALATED)
        ),
        BOOT_SECONDS,
    )
    assert found is not None, voice.notes()
    return found


def outcome_of(voice: Voice, fault: str, guest: Guest) -> Outcome:
    """What is injected is taken away once it is repaired."""
    with inject(fault, guest, GUEST_FAULTS) as injection:
        return outcome_since(voice, guest.name, injection.effect_ns)


def by(outcome: Outcome) -> tuple[Result, StepKind | None, str]:
    return outcome.result, outcome.step, outcome.why


def unfinished(folder: Path) -> list[tuple[str]]:
    with sqlite3.connect(folder / "state/journal.db") as journal:
        return journal.execute(
            "select body from verdicts where ended_ns is null"
        ).fetchall()


def repair_by_hand(name: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "observer", "repair", name, "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


def test_a_guest_writes_on_when_its_back_end_is_started_again(
    image: GuestImage, tmp_path: Path
) -> None:
    """Killed and stopped in the midst of writes; no write fails, none is missed.

    The guest writes one block after another, as the policy has promised.
    """
    repaired = Result.REPAIRED, StepKind.RESTART_BACKEND, ""
    with (
        linux_guest(GuestSpec("web", subnet=30), image) as guest,
        left_by_repairs(guest),
        caring(tmp_path) as voice,
    ):
        wait_until(lambda: "vm: web " in voice.notes(), SECONDS, "it saw the guest")
        vmm = guest.pid
        guest.order("busy write")
        goes_on_writing(guest)
        for by_signal in (signal.SIGKILL, signal.SIGSTOP):
            before, since_ns = guest.disk_pid, time.monotonic_ns()
            os.kill(before, by_signal)
            assert by(outcome_since(voice, guest.name, since_ns)) == repaired
            assert guest.disk_pid != before
            assert status(guest.disk_pid)["PPid"] == "1"
            goes_on_writing(guest)
        wait_until(
            lambda: voice.notes().count("recovered: web: qemu-storage-daemon") == 2,
            *(SECONDS, "the verdicts were closed"),
        )
        guest.order("idle")
        assert guest.pid == vmm
        assert "a write failed" not in guest.console()
        assert "I/O error" not in guest.console()
        said = voice.since(0)
        expected = {VerdictKind.BACKEND_CRASHED, VerdictKind.BACKEND_HUNG}
        assert {v.kind for v in said} == expected, [(v.kind, v.evidence) for v in said]
    assert not unfinished(tmp_path)


def test_a_guest_is_started_again_and_others_are_not(
    image: GuestImage, tmp_path: Path
) -> None:
    """Stopped, and killed with its disk; it outlives the observer.  Others stay."""
    repaired = Result.REPAIRED, StepKind.RESTART_VM, ""
    database = tmp_path / "state/command-lines.db"
    with (
        linux_guest(GuestSpec("web", subnet=31), image) as guest,
        left_by_repairs(guest),
    ):
        with caring(tmp_path) as voice:
            with subprocess.Popen(bare_vmm("other")) as other:
                for name in ("web", "other"):
                    seen = f"vm: {name} "
                    wait_until(lambda s=seen: s in voice.notes(), SECONDS, name)
                other.kill()
            assert voice.wait(lambda v: v.vm == "other", SECONDS) is not None
            assert "the policy does not care for other" in repair_by_hand("other")

            wait_until(lambda: records(database, guest.pid) == 1, SECONDS, "its record")
            before, argv = guest.pid, words(guest.pid)
            assert by(outcome_of(voice, "vmm-stop", guest)) == repaired
            assert guest.pid != before
            assert not words(before)
            assert words(guest.pid) == argv
            assert status(guest.pid)["PPid"] == "1"
            wait_for_guest(guest)
            guest.order("ping")

            vmm, disk, since_ns = guest.pid, guest.disk_pid, time.monotonic_ns()
            for pid in (vmm, disk):
                os.kill(pid, signal.SIGKILL)
            assert by(outcome_since(voice, "web", since_ns, "web")) == repaired
            wait_for_guest(guest)
            assert vmm != guest.pid
            assert disk != guest.disk_pid

            assert Result.ESCALATED not in [o.result for o in voice.outcomes()]
            assert not [o for o in voice.outcomes() if o.vm == "other"]
            running = (words(int(p.name)) for p in Path("/proc").glob("[0-9]*"))
            assert not [argv for argv in running if b"guest=other" in argv]
        guest.order("ping")
    assert not unfinished(tmp_path)
    assert database.stat().st_mode & 0o777 == 0o600


def test_one_that_fell_while_no_observer_was_there_is_started_by_the_next(
    tmp_path: Path,
) -> None:
    """The kernel has kept the news, and a file its name and command line."""
    database, file = tmp_path / "state/command-lines.db", tmp_path / "pid"
    lives_soon = '[limits]\nboot = "2s"\n'  # its firmware, which is all that it has
    argv = bare_vmm("web", "-daemonize", "-pidfile", str(file))
    subprocess.run(argv, check=True, timeout=SECONDS)
    dead = int(file.read_text())
    try:
        with caring(tmp_path, lives_soon) as first:
            wait_until(lambda: records(database, dead) == 1, SECONDS, "its record")
            os.kill(int(LOCK.read_text()), signal.SIGKILL)
            wait_until(lambda: not first.alive(), SECONDS, "the observer was gone")
        end(dead)
        with caring(tmp_path, lives_soon) as second:
            outcome = outcome_since(second, "web", 0)
        assert by(outcome) == (Result.REPAIRED, StepKind.RESTART_VM, ""), outcome
        pid = int(file.read_text())
        assert pid != dead
        assert words(pid).split(b"\0")[:-1] == [word.encode() for word in argv]
    finally:
        end(int(file.read_text()))
    assert not unfinished(tmp_path)


def test_a_vm_that_was_handed_something_is_somebody_elses(tmp_path: Path) -> None:
    """It is not started without; who is told hears why."""
    with caring(tmp_path) as voice, Path("/dev/null").open() as handed:
        fd = handed.fileno()
        argv = bare_vmm("handed", "-add-fd", f"fd={fd},set=1")
        with subprocess.Popen(argv, pass_fds=[fd]) as vmm:
            wait_until(lambda: "vm: handed " in voice.notes(), SECONDS, "it saw it")
            database = tmp_path / "state/command-lines.db"
            wait_until(lambda: records(database, vmm.pid) == 1, SECONDS, "its record")
            vmm.kill()
        outcome = voice.wait_for_outcome(
            lambda o: o.result is Result.ESCALATED, SECONDS
        )
        said = repair_by_hand("handed")
    assert outcome is not None
    assert "handed descriptors (-add-fd)" in outcome.why
    assert said.startswith("would: handed: tell somebody: restart-vm: ")
    assert "handed descriptors (-add-fd)" in said


def records(database: Path, pid: int) -> int:
    with sqlite3.connect(database) as rows:
        found = rows.execute("select count(*) from command_lines where pid = ?", [pid])
        return int(found.fetchone()[0])


@pytest.fixture
def kvm_for_all() -> Iterator[None]:
    """As udev has it."""
    device = Path("/dev/kvm")
    mode = device.stat().st_mode
    device.chmod(0o666)
    yield
    device.chmod(mode)


@pytest.mark.usefixtures("kvm_for_all")
def test_an_orphan_is_started_again_as_its_own_user(tmp_path: Path) -> None:
    """With its groups, limits and folder, and with nothing of the observer's."""
    home = tmp_path / "home"
    home.mkdir()
    for folder in (home, *home.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o111)
    os.chown(home, USER, USER)
    file = home / "pid"
    argv = [
        *("setpriv", "--reuid", str(USER), "--regid", str(USER)),
        *("--groups", f"{USER + 1}", "--", "prlimit", "--nofile=777:888"),
        *bare_vmm("alone", "-daemonize", "-pidfile", str(file)),
    ]
    with caring(tmp_path) as voice:
        subprocess.run(argv, cwd=home, check=True, timeout=SECONDS)
        first = int(file.read_text())
        database = tmp_path / "state/command-lines.db"
        wait_until(lambda: records(database, first) == 1, SECONDS, "its record")
        asked = ("Uid", "Gid", "Groups", "PPid", "CapEff", "CapPrm", "NoNewPrivs")
        asked += ("Umask", "Cpus_allowed")
        before, limits = status(first), Path(f"/proc/{first}/limits").read_text()
        os.kill(first, signal.SIGKILL)

        def second() -> int:
            try:
                return int(file.read_text())
            except ValueError:
                return first  # it is just being written

        wait_until(lambda: second() != first, SECONDS, "the next one was there")
        wait_until(lambda: voice.notes().count("vm: alone ") == 2, SECONDS, "it ran")
        pid = second()
        after = status(pid)
        assert {k: after[k] for k in asked} == {k: before[k] for k in asked}
        assert Path(f"/proc/{pid}/limits").read_text() == limits
        assert os.sched_getscheduler(pid) == os.SCHED_OTHER
        opened = {p.readlink().name for p in Path(f"/proc/{pid}/fd").iterdir()}
        assert not [name for name in opened if "bpf" in name or "journal" in name]
        end(pid)
