# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.doctor.kernel import bpffs, kernel, lockdown, tracefs, vmlinux_btf


@pytest.mark.parametrize(
    ("release", "state"),
    [
        ("5.15.0-1-amd64", "ok"),
        ("6.12.117+deb12-amd64", "ok"),
        ("5.14.21", "missing"),
        ("4.19.0-27-amd64", "missing"),
        ("", "missing"),
    ],
)
def test_the_kernel_must_be_new_enough(recorded, release, state):
    """Linux 5.15 is the oldest that is accepted; no name is not taken for a new one."""
    recorded.write("proc/sys/kernel/osrelease", release)

    assert kernel(recorded.host()).state == state


def test_a_kernel_without_type_information_is_told(recorded):
    """Without BTF nothing can be relocated to this kernel."""
    recorded.remove("sys/kernel/btf/vmlinux")

    assert vmlinux_btf(recorded.host()).state == "missing"


def test_tracefs_is_found_under_debugfs(recorded):
    """Where tracefs is mounted does not matter."""
    recorded.write(
        "proc/self/mounts",
        "tracefs /sys/kernel/debug/tracing tracefs rw,nosuid 0 0\n",
    )

    assert tracefs(recorded.host()).detail == "mounted on /sys/kernel/debug/tracing"


def test_no_mount_is_told_with_the_command_that_mounts(recorded):
    """Missing file systems come with the line that mounts them."""
    recorded.write("proc/self/mounts", "proc /proc proc rw 0 0\n\n")

    assert "mount -t tracefs" in tracefs(recorded.host()).next_step
    assert "mount -t bpf" in bpffs(recorded.host()).next_step


def test_a_read_only_bpffs_is_no_good(recorded):
    """Nothing can be pinned where nothing can be written."""
    recorded.write("proc/self/mounts", "bpf /sys/fs/bpf bpf ro,nosuid 0 0\n")

    finding = bpffs(recorded.host())

    assert finding.state == "missing"
    assert "remount,rw" in finding.next_step


@pytest.mark.parametrize(
    ("modes", "state"),
    [
        ("[none] integrity confidentiality\n", "ok"),
        ("none [integrity] confidentiality\n", "ok"),
        ("none integrity [confidentiality]\n", "missing"),
        ("none integrity [mystery]\n", "warn"),
    ],
)
def test_only_confidentiality_forbids_to_read_memory(recorded, modes, state):
    """Lockdown for integrity leaves BPF alone, for confidentiality it does not."""
    recorded.write("sys/kernel/security/lockdown", modes)

    assert lockdown(recorded.host()).state == state
