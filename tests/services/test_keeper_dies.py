# SPDX-License-Identifier: Apache-2.0
"""A keeper is killed while it restarts its service: nothing is held by anybody.

OBSERVER_ROUNDS is at how many steps; 0 is at each.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.errors import ProgramError
from observer.guests.traffic import Flow, host
from observer.guests.waiting import wait_until
from observer.services.control import order
from observer.services.folder import RUNTIME, ServiceFolder
from observer.services.identity import users_of
from observer.services.images import placed_images
from observer.services.record import READY, Record, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.service,
    pytest.mark.newest,
    pytest.mark.usefixtures("leave_to_break"),
]

ROUNDS = int(os.environ.get("OBSERVER_ROUNDS", "2"))
PROGRAM = Path(__file__).with_name("keeper_that_dies.py")
NET = ServiceFolder(RUNTIME / "net")
LINKS = Path("/sys/class/net")
TAPS = {"obs-net-nic", "obs-net-back"}
TIMES = 400


@contextmanager
def kept(last: str, steps: Path) -> Iterator[subprocess.Popen[str]]:
    """A net service whose keeper dies at the last step."""
    words = [last, str(steps), str(RUNTIME), str(placed_images()), "net"]
    argv = [sys.executable, str(PROGRAM), *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline().strip() == READY
            yield keeper
        finally:
            keeper.terminate()


def record() -> Record:
    found = read_record(NET)
    assert found is not None
    return found


def of_net() -> list[str]:
    """Processes of the service's users, whoever is their parent."""
    users, found = users_of("net"), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid in users:
                found.append((process / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def nothing_held() -> bool:
    """Also by a VMM that was being started, and is not the service's user yet."""
    return not of_net() and not TAPS & {path.name for path in LINKS.iterdir()}


def restart() -> None:
    asyncio.run(order(NET.keeper, f"restart {record().pid}", 60.0))


@pytest.mark.timeout(TIMES + 60 * (ROUNDS or TIMES))
def test_a_keeper_that_dies_leaves_nothing_held(
    tmp_path: Path,
    service: Callable[..., str],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """Before any step of a restart, with frames parked: taps and VM go with it."""
    seed = request.config.getoption("randomly_seed")
    record_property("seed", seed)
    draw = random.Random(seed)  # noqa: S311 - nobody guesses it
    before = {path.name for path in LINKS.iterdir()}
    every = tmp_path / "every"
    with kept("never", every):
        restart()
        steps = every.read_text().splitlines()
    record_property("steps", len(steps))
    assert any("hold" in step for step in steps)
    assert any("release" in step for step in steps)

    for step in draw.sample(steps, ROUNDS) if ROUNDS else steps:
        last = step.split()[0]
        with (
            kept(last, tmp_path / last) as keeper,
            host("inside", "obs-guests", "10.7.0.1") as inside,
            host("outside", "obs-uplink", "10.7.0.2") as outside,
            Flow(inside, outside) as flow,
        ):
            flow.wait_for(30)
            with suppress(ProgramError):  # it may die as soon as it has answered
                restart()
            assert keeper.wait(30) == -signal.SIGKILL, step
            wait_until(nothing_held, 10, f"VM and taps were gone at {step}")
        service("down", "net")
        assert {path.name for path in LINKS.iterdir()} == before, step
        assert not NET.path.exists(), step
