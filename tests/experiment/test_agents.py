# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from observer.experiment.agents import AGENTS, Agent
from observer.guests.launch import GuestSpec, kernel_arguments

if TYPE_CHECKING:
    from pathlib import Path


def test_a_start_is_one_line_that_goes_on() -> None:
    """What it says goes to the console."""
    agent = Agent("folder/dog", "limit=5")

    assert agent.start() == "/bin/dog limit=5 >/dev/ttyS0 2>&1 &\n"
    assert agent.start("x=1") == "/bin/dog limit=5 x=1 >/dev/ttyS0 2>&1 &\n"
    assert agent.program.parts[-4:] == ("build", "experiments", "folder", "dog")


@pytest.mark.parametrize("design", AGENTS)
def test_each_has_a_source(design: str) -> None:
    """From which `make agents` builds it."""
    program = AGENTS[design].program
    root = program.parents[3]

    assert (root / "experiments" / f"{AGENTS[design].place}.c").is_file()


@pytest.mark.parametrize("design", AGENTS)
def test_each_is_told_the_address_of_its_host(design: str, tmp_path: Path) -> None:
    """By the guest's shell, from among the words that its kernel was started with."""
    spec = GuestSpec("web1", subnet=41, words="quiet")
    cmdline = tmp_path / "cmdline"
    cmdline.write_text(f"{kernel_arguments(spec)}\n")
    words = AGENTS[design].words.replace("/proc/cmdline", str(cmdline))

    said = subprocess.check_output(["sh", "-c", f"echo {words}"], text=True)

    assert said == f"peer={spec.host_address}\n"
