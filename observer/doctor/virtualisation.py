# SPDX-License-Identifier: Apache-2.0
"""Checks of KVM and its friends: the device, its modules' types, vhost, tap, VMs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.doctor.finding import Finding, missing, ok, warn
from observer.doctor.rights import effective

if TYPE_CHECKING:
    from observer.doctor.host import Host

__all__ = ["kvm", "kvm_btf", "tun", "vendor_module", "vhost_net", "virtual_machines"]

VENDOR_MODULES = {"kvm_amd": "svm", "kvm_intel": "vmx"}
"""The half of KVM that knows a CPU, and the CPU flag that it needs."""


def _loaded(host: Host, module: str) -> bool:
    return host.path(f"/sys/module/{module}").is_dir()


def _in_misc(host: Host, device: str) -> bool:
    """Whether a driver has registered its device, as a module or built in."""
    rows = (line.split() for line in host.read("/proc/misc").splitlines())
    return any(row[1:] == [device] for row in rows)


def kvm(host: Host) -> Finding:
    """Whether the KVM device is there and runs one instruction."""
    device = host.path("/dev/kvm")
    if not device.exists():
        return missing(
            "kvm",
            "there is no /dev/kvm",
            "Switch virtualisation on in the firmware and run: modprobe kvm_amd"
            " (or kvm_intel); or use the nested host: observer testbed run.",
        )
    try:
        host.run_guest(device)
    except OSError as error:
        return missing(
            "kvm",
            f"/dev/kvm is there but does not work: {error.strerror}",
            "Run as root or join the group kvm; otherwise use the nested host:"
            " observer testbed run.",
        )
    return ok("kvm", "/dev/kvm runs an instruction")


def vendor_module(host: Host) -> Finding:
    """Whether KVM's exit reasons are ones that we know: AMD's or Intel's."""
    for module in VENDOR_MODULES:
        if _loaded(host, module):
            return ok("kvm-vendor", module)
    flags = host.read("/proc/cpuinfo").split()
    for module, flag in VENDOR_MODULES.items():
        if flag in flags:
            return missing(
                "kvm-vendor", f"{module} is not loaded", f"Run: modprobe {module}"
            )
    others = sorted(path.name for path in host.path("/sys/module").glob("kvm_*"))
    found = f"only {', '.join(others)}" if others else "no kvm module"
    return missing(
        "kvm-vendor",
        f"{found} is loaded and the CPU has neither svm nor vmx",
        "Use a host with AMD-V or VT-x, or the nested host: observer testbed run.",
    )


def kvm_btf(host: Host) -> Finding:
    """Whether the loaded modules that we attach to describe their types."""
    wanted = ("kvm", *VENDOR_MODULES, "vhost", "vhost_net")
    silent = [
        module
        for module in wanted
        # Only a loadable module has a state; a built-in one is in vmlinux's BTF.
        if host.path(f"/sys/module/{module}/initstate").exists()
        and not host.path(f"/sys/kernel/btf/{module}").exists()
    ]
    if silent:
        return missing(
            "kvm-btf",
            f"no type information for {', '.join(silent)}",
            "Boot a kernel built with CONFIG_DEBUG_INFO_BTF_MODULES=y;"
            " every Debian kernel is.",
        )
    seen = [name for name in wanted if host.path(f"/sys/kernel/btf/{name}").exists()]
    return ok("kvm-btf", f"types of {', '.join(seen) or 'vmlinux, all built in'}")


def vhost_net(host: Host) -> Finding:
    """Whether the back end of most virtual NICs is there to be watched."""
    if _in_misc(host, "vhost-net"):
        return ok("vhost-net", "loaded")
    return warn(
        "vhost-net",
        "vhost_net is not loaded; its rings are watched as soon as it is",
        "Run: modprobe vhost_net",
    )


def tun(host: Host) -> Finding:
    """Whether VMs can have taps, on which a silent one is asked."""
    if _in_misc(host, "tun"):
        return ok("tun", "loaded")
    return warn(
        "tun",
        "tun is not loaded; VMs without a tap are never asked for a sign of life",
        "Run: modprobe tun",
    )


def virtual_machines(host: Host) -> Finding:
    """How many VMs run now, by the KVM descriptors of every process."""
    count = 0
    for process in host.path("/proc").glob("[0-9]*"):
        try:
            links = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
        except OSError:
            # It ended while we looked, or is not for us to see.
            continue
        else:
            count += links.count("anon_inode:kvm-vm")
    if "CAP_SYS_PTRACE" not in effective(host):
        return warn("vms", f"{count} seen, those of others are hidden", "Run as root.")
    return ok("vms", f"{count} running")
