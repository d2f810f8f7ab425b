# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from observer.guests.waiting import wait_until
from observer.inject.hogs import hog


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_hog_runs_and_is_gone_with_its_block():
    """It uses the CPU at once, and nobody need end it by hand."""
    with hog() as pid:
        wait_until(lambda: _state(pid) == "R", 10, "it ran")

    assert not Path(f"/proc/{pid}").exists()


def test_a_hog_ends_by_itself():
    """The kernel counts its CPU time, whatever became of us."""
    with hog(limit_seconds=1) as pid:
        wait_until(lambda: _state(pid) == "Z", 60, "it ended")
