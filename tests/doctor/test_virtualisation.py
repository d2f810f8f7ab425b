# SPDX-License-Identifier: Apache-2.0
import errno

import pytest

from observer.doctor.virtualisation import (
    kvm,
    kvm_btf,
    tun,
    vendor_module,
    vhost_net,
    virtual_machines,
)


def test_no_kvm_points_to_the_nested_host(recorded):
    """Without /dev/kvm there is still a way to try the observer."""
    recorded.remove("dev/kvm")

    assert "observer testbed run" in kvm(recorded.host()).next_step


def test_a_kvm_that_runs_nothing_does_not_count(recorded):
    """A device that is there but cannot run an instruction is missing."""

    def fail(_device):
        raise OSError(errno.EACCES, "Permission denied")

    finding = kvm(recorded.host(run_guest=fail))

    assert finding.state == "missing"
    assert "Permission denied" in finding.detail


@pytest.mark.parametrize(("flag", "module"), [("svm", "kvm_amd"), ("vmx", "kvm_intel")])
def test_the_module_for_this_cpu_is_named(recorded, flag, module):
    """A CPU that could virtualise gets the name of the module to load."""
    for path in ("initstate", ""):
        folder = recorded.root / "sys/module/kvm_amd"
        (folder / path).unlink() if path else folder.rmdir()
    recorded.write("proc/cpuinfo", f"flags : fpu {flag}\n")

    assert vendor_module(recorded.host()).next_step == f"Run: modprobe {module}"


def test_a_strange_kvm_is_named(recorded):
    """A KVM that is neither AMD's nor Intel's has exit reasons that we do not know."""
    (recorded.root / "sys/module/kvm_amd/initstate").unlink()
    (recorded.root / "sys/module/kvm_amd").rename(
        recorded.root / "sys/module/kvm_pvm",
    )
    recorded.write("proc/cpuinfo", "flags : fpu\n")

    finding = vendor_module(recorded.host())

    assert finding.state == "missing"
    assert "kvm_pvm" in finding.detail


def test_a_module_without_types_is_told(recorded):
    """A loaded module without BTF cannot be attached to."""
    recorded.remove("sys/kernel/btf/vhost")

    finding = kvm_btf(recorded.host())

    assert finding.state == "missing"
    assert finding.detail == "no type information for vhost"


def test_a_built_in_module_has_its_types_in_vmlinux(recorded):
    """A built-in module shows no state and needs no BTF of its own."""
    for module in ("kvm", "kvm_amd", "vhost", "vhost_net"):
        recorded.remove(f"sys/module/{module}/initstate")
        recorded.remove(f"sys/kernel/btf/{module}")

    assert kvm_btf(recorded.host()).state == "ok"


def test_absent_drivers_are_only_warnings(recorded):
    """vhost_net and tun may be loaded later: the daemon waits for them."""
    recorded.write("proc/misc", "232 kvm\n")

    assert vhost_net(recorded.host()).state == "warn"
    assert tun(recorded.host()).state == "warn"


def test_virtual_machines_are_counted_by_their_descriptors(recorded):
    """Each process that holds a KVM VM counts once for each VM."""
    for pid, links in {"10": ["anon_inode:kvm-vm", "/dev/null"], "11": ["x"]}.items():
        folder = recorded.root / "proc" / pid / "fd"
        folder.mkdir(parents=True)
        for number, link in enumerate(links):
            (folder / str(number)).symlink_to(link)
    (recorded.root / "proc/12").mkdir()

    assert virtual_machines(recorded.host()).detail == "1 running"


def test_without_the_right_to_look_the_count_is_not_trusted(recorded):
    """A user sees only his own processes, so zero VMs may be wrong."""
    recorded.write("proc/self/status", "CapEff:\t0000000000000000\n")

    assert virtual_machines(recorded.host()).state == "warn"
