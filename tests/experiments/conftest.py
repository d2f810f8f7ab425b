# SPDX-License-Identifier: Apache-2.0
"""A design as the study runs it: a program of its own, heard."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from observer.demo.voice import Voice
from observer.guests.waiting import wait_until
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

ARMED_SECONDS = 60.0
END_SECONDS = 10.0


@pytest.fixture
def design(tmp_path: Path) -> Callable[..., AbstractContextManager[Voice]]:
    """Run `experiments/PLACE OPTIONS` while the block does; armed when that begins."""

    @contextmanager
    def running(place: str, *options: str) -> Iterator[Voice]:
        notes = tmp_path / "notes"
        argv = [sys.executable, str(checkout() / "experiments" / place), *options]
        with (
            notes.open("w") as to,
            subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=to, text=True
            ) as process,
        ):
            try:
                voice = Voice(process, notes)
                wait_until(
                    lambda: "armed: in" in voice.notes() or not voice.alive(),
                    ARMED_SECONDS,
                    "it was armed",
                )
                yield voice
                process.terminate()
                assert process.wait(END_SECONDS) == 0, voice.notes()
            finally:
                process.kill()

    return running
