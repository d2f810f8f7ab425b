# SPDX-License-Identifier: Apache-2.0
"""Decides whether this machine's KVM can carry a nested host.

A /dev/kvm proves little: it may be closed to us, unable to run a Linux kernel, or
hide svm and vmx, without which the nested host has no KVM. So one small guest is
tried, once a boot.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import msgspec

from observer.guests import cpio
from observer.guests.children import with_us
from observer.testbed.initramfs import static_busybox

__all__ = ["Verdict", "probe", "verdict_of"]

DEADLINE_S = 20
_MARK = "observer-probe:"
_INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
if grep -qwE 'svm|vmx' /proc/cpuinfo; then says=nested; else says=flat; fi
echo "{_MARK}$says"
reboot -f
"""


class Verdict(msgspec.Struct, frozen=True):
    """Whether to use KVM, and why."""

    kvm: bool
    reason: str
    boot_id: str = ""


def verdict_of(console: str) -> Verdict:
    """What the probe guest's console says."""
    if f"{_MARK}nested" in console:
        return Verdict(kvm=True, reason="a probe guest ran and was offered svm or vmx")
    if f"{_MARK}flat" in console:
        return Verdict(
            kvm=False, reason="KVM offers neither svm nor vmx inside a guest"
        )
    return Verdict(kvm=False, reason="a probe guest did not boot under KVM")


def probe(image: Path, cache: Path, device: Path = Path("/dev/kvm")) -> Verdict:
    """The verdict, remembered until this machine boots again."""
    if not os.access(device, os.R_OK | os.W_OK):
        # Not remembered: access is quickly given.
        what = "not open to this user" if device.exists() else "not there"
        return Verdict(kvm=False, reason=f"{device} is {what}")
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if (known := _recall(cache)) and known.boot_id == boot_id:
        return known
    verdict = msgspec.structs.replace(_try(image), boot_id=boot_id)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(msgspec.json.encode(verdict))
    return verdict


def _recall(cache: Path) -> Verdict | None:
    try:
        return msgspec.json.decode(cache.read_bytes(), type=Verdict)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _try(image: Path) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="observer-probe-") as scratch:
        console, initramfs = Path(scratch) / "console", Path(scratch) / "initramfs"
        console.touch()
        initramfs.write_bytes(_first_root())
        argv = [*with_us(), "qemu-system-x86_64"]
        argv += ["-nodefaults", "-no-reboot", "-display", "none", "-m", "256M"]
        argv += ["-accel", "kvm", "-cpu", "host", "-serial", f"file:{console}"]
        argv += ["-kernel", str(image), "-initrd", str(initramfs)]
        argv += ["-append", "console=ttyS0 panic=-1 quiet"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=DEADLINE_S,
                check=False,
            )
        return verdict_of(console.read_text(errors="replace"))


def _first_root() -> bytes:
    return cpio.archive(
        [
            cpio.character_device("dev/console", 5, 1),
            cpio.directory("proc"),
            cpio.file("bin/busybox", static_busybox(), executable=True),
            cpio.file("init", _INIT.encode(), executable=True),
        ]
    )
