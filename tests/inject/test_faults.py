# SPDX-License-Identifier: Apache-2.0
from click.testing import CliRunner

from observer.cli.inject import inject
from observer.inject.faults import GUEST_FAULTS

SILENT = {"idle", "busy", "link-down", "boot", "paused", "snapshot", "host-overload"}
FAULTS = {
    *("vmm-crash", "vmm-stop", "backend-crash", "backend-hang", "backend-starved"),
    *("guest-panic", "guest-irqoff-spin", "guest-halt", "vcpu-lockup"),
    *("lost-kick", "lost-call"),
}


def test_the_vocabulary_is_complete():
    """Every name that documents and experiments use can be injected, and no other."""
    assert {name for name, f in GUEST_FAULTS.items() if f.silent} == SILENT
    assert {name for name, f in GUEST_FAULTS.items() if not f.silent} == FAULTS


def test_the_command_line_refuses_what_is_no_test_guest():
    """Nobody's production VM can be broken by a slip."""
    result = CliRunner().invoke(inject, ["vmm-crash", "production"])

    assert result.exit_code != 0
    assert "production is not a test guest" in str(result.exception)
