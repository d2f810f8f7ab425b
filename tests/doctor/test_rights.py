# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.doctor.rights import (
    capabilities,
    effective,
    memlock,
    raw_frames,
    unprivileged_bpf,
)


def _grant(recorded, *bits):
    mask = sum(1 << bit for bit in bits)
    recorded.write("proc/self/status", f"Name:\tx\nCapEff:\t{mask:016x}\n")


def test_capabilities_are_read_by_their_bits(recorded):
    """Bit 39 is CAP_BPF and bit 13 CAP_NET_RAW, as in the kernel's header."""
    _grant(recorded, 39, 13)

    assert effective(recorded.host()) == {"CAP_BPF", "CAP_NET_RAW"}


def test_what_is_lacking_is_named(recorded):
    """A process with CAP_BPF alone is told what else it needs."""
    _grant(recorded, 39)

    finding = capabilities(recorded.host())

    assert finding.state == "missing"
    assert "CAP_PERFMON" in finding.detail
    assert "CAP_BPF" not in finding.detail


def test_no_status_is_no_right(recorded):
    """Missing data is never taken for a right."""
    recorded.remove("proc/self/status")

    assert effective(recorded.host()) == frozenset()
    assert raw_frames(recorded.host()).state == "missing"


def test_memlock_shows_the_limit(recorded):
    """The limit is shown though it no longer bounds BPF."""
    assert "limit 8388608" in memlock(recorded.host()).detail


@pytest.mark.parametrize(("value", "state"), [("0", "warn"), ("1", "ok"), ("2", "ok")])
def test_bpf_for_everybody_is_a_warning(recorded, value, state):
    """Only 0 lets every user load programs."""
    recorded.write("proc/sys/kernel/unprivileged_bpf_disabled", f"{value}\n")

    assert unprivileged_bpf(recorded.host()).state == state
