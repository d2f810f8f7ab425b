# SPDX-License-Identifier: Apache-2.0
from observer.bench.programs import Program, programs_since, read_programs

SHOWN = [
    {"id": 3, "name": "sd_devices", "run_cnt": 9, "run_time_ns": 90},
    {
        "id": 5,
        "name": "on_kvm_exit",
        "run_cnt": 100,
        "run_time_ns": 5000,
        "pinned": ["/sys/fs/bpf/observer/vcpu-1/on_kvm_exit"],
    },
]


def test_only_programs_pinned_by_us_are_ours():
    """Other programs of the host are left alone."""
    ours = read_programs(SHOWN, "/sys/fs/bpf/observer")

    assert ours == {5: Program("on_kvm_exit", 100, 5000, None)}


def test_time_per_run_is_that_between_two_looks():
    """What ran before the first look does not count."""
    before = {5: Program("on_kvm_exit", 100, 5000, None)}
    after = {
        5: Program("on_kvm_exit", 300, 25000, None),
        6: Program("on_exit", 0, 0, None),
    }

    busy, idle = programs_since(before, after)

    assert busy == Program("on_kvm_exit", 200, 20000, 100.0)
    assert idle.ns_per_run is None
