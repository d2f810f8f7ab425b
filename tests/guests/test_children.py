# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from observer.guests.children import child
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import LateSetpriv

PARENT = """
import sys
from pathlib import Path
from observer.guests.children import child
with child(["touch", sys.argv[1]], Path("/dev/null")) as process:
    process.wait()
"""


def test_a_program_does_not_outlive_who_started_it(
    tmp_path: Path, late_setpriv: LateSetpriv
) -> None:
    """Not even where that one was killed before the program could ask to be told."""
    argv = [sys.executable, "-c", PARENT, str(tmp_path / "ran")]
    with subprocess.Popen(argv, env=late_setpriv.env) as parent:
        wait_until(late_setpriv.pid.exists, 30, "the program was about to start")
        parent.send_signal(signal.SIGKILL)

    started = Path("/proc", late_setpriv.pid.read_text().strip())
    wait_until(lambda: not started.exists(), 30, "it was gone")
    assert not (tmp_path / "ran").exists()


def test_a_program_runs_while_the_block_does(tmp_path: Path) -> None:
    """As the child that it is, with its words as they were given; then it is gone."""
    words = ["a b", "$HOME", "'", ""]
    script = 'printf "%s\\n" "$@"; exec sleep 60'
    with child(["sh", "-c", script, "sh", *words], tmp_path / "log") as process:
        log = tmp_path / "log"
        wait_until(lambda: log.read_text().count("\n") == 4, 30, "it had spoken")
        assert log.read_text().splitlines() == words
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
