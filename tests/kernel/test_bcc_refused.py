# SPDX-License-Identifier: Apache-2.0
import subprocess

import pytest

pytestmark = [pytest.mark.nested, pytest.mark.newest]


def test_a_bcc_that_is_too_old_is_one_sentence():
    """Which types BCC lacks, and the way out: no chatter, no traceback, status 1."""
    run = subprocess.run(
        ["observer", "run", "--loader", "bcc"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert "cannot compile against Linux" in run.stderr
    assert "Use the default loader, libbpf" in run.stderr
