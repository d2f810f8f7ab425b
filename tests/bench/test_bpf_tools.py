# SPDX-License-Identifier: Apache-2.0
from observer.bench.arms import kvmexit_lacks
from observer.bench.bpf_tools import counted_by_reason
from observer.bench.tool import perf_event_count

BPFTRACE = """\
Attaching 1 probe...


@[96]: 12
@[123]: 61
@[129]: 20001
"""


def test_bpftrace_counts_are_summed_over_reasons():
    """All reasons together are the exits."""
    assert counted_by_reason(BPFTRACE) == 20074


def test_a_bpftrace_that_printed_no_map_cannot_tell():
    """No count at all is not the count zero."""
    assert counted_by_reason("Attaching 1 probe...\n") is None


def test_perf_events_are_known_by_their_descriptors(tmp_path):
    """Only descriptors of perf events count, whatever else is open."""
    fds = tmp_path / "7" / "fd"
    fds.mkdir(parents=True)
    for number, target in enumerate(("/dev/null", "anon_inode:[perf_event]")):
        (fds / str(number)).symlink_to(target)

    assert perf_event_count(7, tmp_path) == 1


def test_kvmexit_is_left_out_on_amd():
    """Debian 12's kvmexit refuses AMD, whether it is installed or not."""
    reason = kvmexit_lacks("vendor_id : AuthenticAMD", lambda name: name)

    assert reason is not None
    assert "Intel" in reason


def test_kvmexit_runs_on_intel_where_it_is_installed():
    """On Intel it takes nothing but the program."""
    assert kvmexit_lacks("vendor_id : GenuineIntel", lambda name: name) is None
    assert kvmexit_lacks("vendor_id : GenuineIntel", lambda _: None) is not None
