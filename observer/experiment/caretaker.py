# SPDX-License-Identifier: Apache-2.0
"""Who takes care of the services during a turn: the observer or a comparator.

Each is a process of its own that prints verdicts and outcomes; one ear hears all.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.demo.voice import heard, observer_running
from observer.experiment.comparator import READY
from observer.guests.waiting import wait_until
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observer.demo.voice import Voice
    from observer.experiment.designs import Design

__all__ = ["READY_SECONDS", "caretaker"]

SEEN_SECONDS = 60.0
READY_SECONDS = 300.0  # a Linux VM boots so long where the CPU is emulated
PATHS = """\
[paths]
state = "{state}"
"""


@contextmanager
def caretaker(
    design: Design, services: tuple[str, ...], folder: Path
) -> Iterator[Voice]:
    """Have the services taken care of while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    if design.policy is not None:
        config = folder / "observer.toml"
        config.write_text(design.policy + PATHS.format(state=folder / "state"))
        with observer_running(folder / "log", "--config", str(config)) as voice:
            seen = [f"vm: {service} " for service in services]
            wait_until(
                lambda: all(line in voice.notes() for line in seen),
                SEEN_SECONDS,
                f"it saw {' and '.join(services)}",
            )
            yield voice
    else:
        file = checkout() / "experiments" / design.comparator
        argv = [sys.executable, str(file), *services]
        with heard(argv, folder / "log", READY, READY_SECONDS) as voice:
            yield voice
