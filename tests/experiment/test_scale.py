# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.errors import HostError, ProgramError
from observer.experiment import tiny_vms
from observer.experiment.scale import Plan, up_and_down

if TYPE_CHECKING:
    from pathlib import Path

SOUND = 'echo "up $2"; exec sleep 600'
BROKEN = 'echo "$2: /dev/kvm: No such file or directory" >&2'


@given(st.sets(st.integers(1, 2000), min_size=1), st.integers(1, 5))
def test_numbers_of_vms_go_up_and_down_in_turns(counts: set[int], turns: int) -> None:
    """Each number once a turn, and none far from its like in the turn beside it."""
    order = up_and_down(tuple(counts), turns)

    assert [turn for turn, _ in order] == sorted(turn for turn, _ in order)
    for turn in range(turns):
        its = [count for at, count in order if at == turn]
        assert its == sorted(counts, reverse=bool(turn % 2))


def test_some_are_late_at_one_number_only() -> None:
    """Else what grows with the number and what with the share is not told apart."""
    plan = Plan(counts=(10, 100), late_shares=(0.01, 0.1), late_vms=100)

    assert plan.shares(10) == (0.0,)
    assert plan.shares(100) == (0.0, 0.01, 0.1)


@pytest.fixture
def vmm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of the VMM."""
    path = tmp_path / "vmm"
    monkeypatch.setattr(tiny_vms, "program", lambda: path)
    return path


def make(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_all_are_up_and_none_is_left(vmm: Path, tmp_path: Path) -> None:
    """Each has said so when it is given, and ends with the block."""
    make(vmm, SOUND)

    with tiny_vms.tiny_vms(tmp_path) as vms:
        assert [vm.name for vm in vms.start(2)] == ["tiny0", "tiny1"]
        assert [vm.name for vm in vms.start(3)] == ["tiny2", "tiny3", "tiny4"]
        pids = [vm.pid for vm in vms.all]
        for pid in pids:
            os.kill(pid, 0)

    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_that_does_not_come_up_is_told_with_its_reason(
    vmm: Path, tmp_path: Path
) -> None:
    """In its own words, without waiting for the deadline."""
    make(vmm, BROKEN)

    with (
        tiny_vms.tiny_vms(tmp_path) as vms,
        pytest.raises(ProgramError, match="/dev/kvm: No such file"),
    ):
        vms.start(2)


def test_a_vmm_that_was_not_built_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what builds it."""
    monkeypatch.setattr(tiny_vms, "checkout", lambda: tmp_path)

    with pytest.raises(HostError, match="make ready"):
        tiny_vms.program()
