# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from observer.errors import ProgramError
from observer.experiment.caretaker import caretaker
from observer.experiment.designs import Design
from observer.model import Result, VerdictKind

if TYPE_CHECKING:
    from pathlib import Path

TELLS = """\
import sys, time
from observer.experiment.comparator import *
from observer.model import VerdictKind
ends_on_sigterm()
began_ns = time.monotonic_ns()
say_ready()
kind = VerdictKind.SERVICE_HUNG
say_verdict(sys.argv[1], kind, began_ns, "it was told so", "nothing")
say_outcome(sys.argv[1], kind, None, began_ns=began_ns, why="nothing was done")
time.sleep(60)
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A program, to be written."""
    return tmp_path / "rebuilt.py"


def test_a_comparator_is_heard_as_the_observer_is(module: Path, tmp_path: Path) -> None:
    """Its verdict and its outcome, on the service that it was started for."""
    module.write_text(TELLS)
    before_ns = time.monotonic_ns()

    with caretaker(Design("", comparator=str(module)), ("net",), tmp_path) as voice:
        verdict = voice.wait(lambda _: True, 10)
        outcome = voice.wait_for_outcome(lambda _: True, 10)

    assert verdict is not None
    assert (verdict.vm, verdict.kind) == ("net", VerdictKind.SERVICE_HUNG)
    assert verdict.monotonic_ns > before_ns
    assert outcome is not None
    assert (outcome.vm, outcome.result) == ("net", Result.REPAIRED)
    assert not voice.alive()


def test_one_that_cannot_start_is_told_with_its_words(
    module: Path, tmp_path: Path
) -> None:
    """Not a minute later: it has ended."""
    module.write_text("raise SystemExit('it has no bridges')")
    design = Design("", comparator=str(module))

    with (
        pytest.raises(ProgramError, match="it has no bridges"),
        caretaker(design, ("net",), tmp_path),
    ):
        pass
