# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.demo import place
from observer.errors import EmulatorFaultError, KernelSplatError
from observer.testbed.nested import NestedRun


def test_a_run_is_repeated_when_the_emulator_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once, and said aloud."""
    ends = [
        EmulatorFaultError("the emulator failed: x."),
        NestedRun(3, Path(), 1, kvm=False),
    ]
    said: list[str] = []

    def run_nested(*_: object) -> NestedRun:
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(place, "run_nested", run_nested)

    assert place.run_in_testbed(["demo"], "debian-12", 9, said.append) == 3
    assert said[-1] == "the emulator failed: x: once more, from the start"


def test_a_splat_is_not_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What our own programs may have done ends the run."""

    def run_nested(*_: object) -> NestedRun:
        raise KernelSplatError("Oops")

    monkeypatch.setattr(place, "run_nested", run_nested)

    with pytest.raises(KernelSplatError):
        place.run_in_testbed(["demo"], "debian-12", 9, lambda _: None)
