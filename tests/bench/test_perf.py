# SPDX-License-Identifier: Apache-2.0
from observer.bench.perf import counted_exits, recorded_exits

RECORDED = """\
[ perf record: Woken up 1 times to write data ]
[ perf record: Captured and wrote 5.012 MB /tmp/x/perf.data (40124 samples) ]
"""
COUNTED = """\
0,,kvm:kvm_ack_irq,2012345678,100.00,,
20058,,kvm:kvm_exit,2012345678,100.00,,
20061,,kvm:kvm_entry,2012345678,100.00,,
"""


def test_half_of_the_recorded_samples_are_exits():
    """The samples that perf wrote are halved, since each exit has its entry."""
    assert recorded_exits(RECORDED) == 20062


def test_the_exit_counter_is_read_and_no_other():
    """Of all KVM counters the one of kvm_exit counts."""
    assert counted_exits(COUNTED) == 20058


def test_a_perf_that_said_nothing_counted_nothing():
    """Without its last line one cannot tell, which is not zero."""
    assert recorded_exits("") is None
    assert counted_exits("") is None
