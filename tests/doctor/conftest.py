# SPDX-License-Identifier: Apache-2.0
"""A recorded host: a Debian 12 machine with an AMD CPU, all that is needed loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from observer.doctor.host import Host

RELEASE = "6.1.0-56-amd64"

FILES = {
    "proc/sys/kernel/osrelease": f"{RELEASE}\n",
    "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
    "proc/self/status": "Name:\tobserver\nCapEff:\t000001ffffffffff\nThreads:\t1\n",
    "proc/self/limits": "Max locked memory         8388608    8388608    bytes\n",
    "proc/self/mounts": (
        "sysfs /sys sysfs rw,nosuid 0 0\n"
        "tracefs /sys/kernel/tracing tracefs rw,nosuid 0 0\n"
        "bpf /sys/fs/bpf bpf rw,nosuid,mode=700 0 0\n"
    ),
    "proc/misc": "122 vhost-net\n200 tun\n232 kvm\n",
    "proc/cpuinfo": "flags\t\t: fpu vme svm npt\n",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "sys/fs/bpf/.keep": "",
    "dev/kvm": "",
    "lib/modules/6.1.0-56-amd64/source/include/linux/bpf.h": (
        "return sizeof(struct bpf_timer);\n"
    ),
    "lib/modules/6.1.0-56-amd64/source/include/uapi/linux/bpf.h": (
        "struct bpf_timer {\n};\n"
    ),
    "usr/lib/x86_64-linux-gnu/libbcc.so.0": "\x7fELF struct bpf_timer {\n",
    "usr/lib/python3/dist-packages/bcc/__init__.py": "class BPF: ...\n",
    "usr/lib/python3/dist-packages/bcc/libbcc.py": "",
    "usr/lib/python3/dist-packages/bcc/version.py": "__version__ = '0.26.0'\n",
}

MODULES = ("kvm", "kvm_amd", "vhost", "vhost_net")


class RecordedHost:
    """A tree under a folder, to be changed before the checks look at it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)
        self.write("sys/kernel/btf/vmlinux", "")
        for module in MODULES:
            self.write(f"sys/module/{module}/initstate", "live\n")
            self.write(f"sys/kernel/btf/{module}", "")

    def write(self, name: str, text: str) -> None:
        """Put a file into the tree, with the folders that lead to it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def remove(self, name: str) -> None:
        """Take a file out of the tree."""
        (self.root / name).unlink()

    def host(self, **changes: object) -> Host:
        """What the checks get; `changes` replaces fields of it."""
        host = Host(
            root=self.root,
            python_path=(self.root / "venv",),
            which=lambda program: f"/usr/bin/{program}",
            libbpf_version=lambda: "1.1",
            run_guest=lambda _device: None,
        )
        return dataclasses.replace(host, **changes)


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedHost:
    """The machine on which all is well."""
    return RecordedHost(tmp_path)


@pytest.fixture
def real_kvm() -> Path:
    """The KVM device of the machine that runs the tests."""
    return Path("/dev/kvm")
