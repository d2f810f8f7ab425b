# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from observer.testbed.nested import checkout


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Every key and value, and the program that it starts is there."""
    unit, ours = tmp_path / "observer.service", Path(sys.executable).parent / "observer"
    text = (checkout() / "packaging/observer.service").read_text()
    unit.write_text(text.replace("/usr/local/bin/observer", str(ours)))

    argv = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")

    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystm=1"))
    wrong = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=60
    )
    assert "ProtectSystm" in wrong.stderr  # it would have been said
