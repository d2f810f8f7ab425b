# SPDX-License-Identifier: Apache-2.0
"""The observer itself is broken, wherever it lives."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from observer.demo.voice import Voice
from observer.experiment.cost import family_of
from observer.experiment.observer_faults import (
    CRASH,
    STOP,
    broken_in_guests,
    broken_on_host,
)
from observer.experiment.observers import Inside
from observer.guests.waiting import wait_until
from observer.inventory.task import look_at_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.guests.guest import Guest

SECONDS = 20.0


@pytest.fixture
def voice(tmp_path: Path) -> Iterator[Voice]:
    """A design of two processes, the second of which is a child's."""
    argv = ["sh", "-c", "sleep 600 & wait"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        found = Voice(process, tmp_path / "notes")
        wait_until(lambda: len(family_of(process.pid)) == 2, SECONDS, "it had a child")
        family = family_of(process.pid)
        yield found
        for pid in family:
            subprocess.run(["kill", "-KILL", str(pid)], check=False)


def _all_stopped(pids: list[int]) -> bool:
    return all(look_at_task(Path(f"/proc/{pid}")).stopped for pid in pids)


def _none_stopped(pids: list[int]) -> bool:
    looks = [look_at_task(Path(f"/proc/{pid}")) for pid in pids]
    return not any(look.stopped or look.gone for look in looks)


def test_a_design_is_stopped_with_all_its_processes_and_goes_on(voice: Voice) -> None:
    """A VM that it runs by itself is one of them."""
    family = family_of(voice.pid)

    with broken_on_host(STOP, voice):
        wait_until(lambda: _all_stopped(family), SECONDS, "both were stopped")

    wait_until(lambda: _none_stopped(family), SECONDS, "both went on")
    assert voice.alive()


def test_a_design_is_killed_with_all_its_processes(voice: Voice) -> None:
    """For good: none of them is there afterwards."""
    family = family_of(voice.pid)

    with broken_on_host(CRASH, voice):
        wait_until(
            lambda: all(look_at_task(Path(f"/proc/{pid}")).gone for pid in family),
            SECONDS,
            "both were gone",
        )

    assert not voice.alive()


class _Obedient:
    """A guest that keeps its orders."""

    def __init__(self) -> None:
        self.orders: list[str] = []

    def order(self, line: str) -> None:
        self.orders.append(line)


@pytest.mark.parametrize(
    ("fault", "inside", "while_broken", "afterwards"),
    [
        (STOP, Inside("qemu-ga"), "signal STOP qemu-ga", ["signal CONT qemu-ga"]),
        (CRASH, Inside("qemu-ga"), "signal KILL qemu-ga", []),
        (STOP, Inside("orbit", "USR2", "", "USR1"), "signal USR2 orbit", []),
        (CRASH, Inside("orbit", "USR2", "", "USR1"), "signal USR1 orbit", []),
    ],
)
def test_an_observer_in_its_guests_is_broken_there(
    fault: str, inside: Inside, while_broken: str, afterwards: list[str]
) -> None:
    """In each of them, and what was stopped goes on also where the block fails."""
    guests = [_Obedient(), _Obedient()]

    def fail_while_broken() -> None:
        with broken_in_guests(fault, inside, cast("list[Guest]", guests)):
            assert all(guest.orders == [while_broken] for guest in guests)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_broken()

    for guest in guests:
        assert guest.orders == [while_broken, *afterwards]
