# SPDX-License-Identifier: Apache-2.0
"""The designs of an observer that are compared: where it lives, what it takes.

A design is a program of its own under `experiments/`, whose README tells where it comes
from and why its settings are its best.  Here is what it is started with, and what its
guests have for it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ALL_OF_THEM",
    "BLIND_SECONDS",
    "DETECTION",
    "OFFERED",
    "QUICK",
    "SERVICES",
    "SIDE_BY_SIDE",
    "Inside",
    "ObserverDesign",
]

BLIND_SECONDS = 8.0
PETTED = 0.3
"""A watchdog is petted each time so much of its heartbeat has passed."""


@dataclass(frozen=True)
class Inside:
    """An observer that lives in its guest: its program, and the signals that break it.

    What it has on the host only says what it tells.
    """

    program: str
    stop: str = "STOP"
    go_on: str = "CONT"
    """Empty where it goes on by itself."""
    crash: str = "KILL"


@dataclass(frozen=True)
class ObserverDesign:
    """One design; a guest has nothing for it unless said."""

    does: str
    program: tuple[str, ...] = ()
    """What Python is given: a file below `experiments`, and its options."""
    daemon: tuple[str, ...] | None = None
    """It is ours: the daemon's options."""
    patience_s: float = 10.0
    """Its own worst case and more: so long after a fault it is waited for."""
    sees: tuple[str, ...] = ()
    """The faults that its rule can see, where its patience is long; none named: all.

    For others it is waited no longer than for most designs.
    """
    phase_s: float = 1.0
    """A fault comes at a moment of chance in so long: its period, where it has one."""
    devices: tuple[str, ...] = ()
    """More words for QEMU."""
    words: str = ""
    """More words for the guest's kernel."""
    drivers: tuple[str, ...] = ()
    """More drivers of the guest."""
    flavour: str = ""
    """The guest's kernel, where the one for guests lacks something."""
    programs: tuple[str, ...] = ()
    """Programs of the host's that the guest has."""
    start: str = ""
    """What the guest runs before it is up."""
    agent: bool = False
    """It has a program of its own in the guest, as `agents.py` tells."""
    inside: Inside | None = None
    acts: bool = False
    """What it says is an act: QEMU resets the guest with it, unless told otherwise."""
    shared_memory: bool = False
    service_words: str = ""
    """More words for a service VM."""

    def patience_with_s(self, fault: str) -> float:
        """How long a verdict on this fault is waited for."""
        is_blind = bool(self.sees) and fault not in self.sees
        return min(self.patience_s, BLIND_SECONDS) if is_blind else self.patience_s


_I6300ESB = ("-device", "i6300esb", "-action", "watchdog=none")
_AGENT = (
    *("-device", "virtio-serial-pci"),
    *("-chardev", "socket,id=agent,path={folder}/agent.sock,server=on,wait=off"),
    *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
)


def _watchdog(heartbeat_s: int) -> ObserverDesign:
    return ObserverDesign(
        f"QEMU's i6300esb, petted by busybox, runs out after {heartbeat_s} s",
        program=("watchdog/watchdog.py",),
        patience_s=heartbeat_s + 8.0,
        phase_s=PETTED * heartbeat_s,
        sees=(
            *("guest-panic", "guest-irqoff-spin", "guest-halt", "vcpu-lockup"),
            "vmm-crash",
        ),
        devices=_I6300ESB,
        drivers=("i6300esb",),
        flavour="amd64",
        start=f"watchdog -t {round(heartbeat_s * PETTED * 1000)}ms "
        f"-T {heartbeat_s} /dev/watchdog\n",
        inside=Inside("watchdog"),
        acts=True,
    )


def _polling(every_s: float, patience_s: float) -> ObserverDesign:
    return ObserverDesign(
        f"/proc and QMP every {every_s:g} s, three bad polls in a row",
        program=("polling/polling.py", "--every", f"{every_s:g}"),
        patience_s=patience_s,
        phase_s=every_s,
        sees=(
            *("vmm-crash", "vmm-stop"),
            *("backend-crash", "backend-hang", "backend-starved"),
        ),
    )


def _phoenix(valid_ms: int, *options: str) -> ObserverDesign:
    does = (
        f"asked every {valid_ms} ms, whatever was seen"
        if options
        else f"asked after {valid_ms} ms without a sign of life"
    )
    return ObserverDesign(
        f"{does}, 5 ms to answer (10 ms on an emulated CPU); private against shared "
        "index",
        program=("phoenix/phoenix.py", "--valid-ms", str(valid_ms), *options),
        patience_s=5,
    )


DETECTION = {
    "none": ObserverDesign("nobody watches"),
    "polling-10s": _polling(10, 45),
    "polling-1s": _polling(1, 8),
    "polling-100ms": _polling(0.1, 5),
    "watchdog-30s": _watchdog(30),
    "watchdog-1s": _watchdog(1),
    "pvpanic": ObserverDesign(
        "QEMU's pvpanic, an exit of a kernel that panics",
        program=("pvpanic/pvpanic.py",),
        patience_s=3,
        devices=("-device", "pvpanic-pci", "-action", "panic=none"),
        drivers=("pvpanic_pci",),
    ),
    "guest-agent": ObserverDesign(
        "qemu-ga is pinged every second, failed after three silent ones",
        program=("guest_agent/guest_agent.py",),
        patience_s=8,
        devices=_AGENT,
        drivers=("virtio_console",),
        programs=("qemu-ga",),
        # A port is called after its device's place among all virtio devices.
        start="mkdir -p /var/run\n"
        "qemu-ga -m virtio-serial -p /dev/vport*p1 >/dev/ttyS0 2>&1 &\n",
        inside=Inside("qemu-ga"),
    ),
    "in-guest": ObserverDesign(
        "a thread on each vCPU beats; another looks at them, at disk and network",
        program=("in_guest/in_guest.py",),
        patience_s=8,
        agent=True,
        inside=Inside("watchdog"),
    ),
    "orbit": ObserverDesign(
        "a process beside the server looks at a copy-on-write snapshot of it",
        program=("orbit/orbit.py",),
        patience_s=8,
        agent=True,
        # its next check hangs, and is killed by its master; or dies of a null pointer
        inside=Inside("orbit", stop="USR2", go_on="", crash="USR1"),
    ),
    "vm-per-vm": ObserverDesign(
        "a tiny VM for each VM reads its memory every 10 ms",
        program=("vm_per_vm/vm_per_vm.py",),
        patience_s=8,
    ),
    "goshd": ObserverDesign(
        "HyperTap's rule: no activity on a vCPU for 4 s",
        program=("goshd/goshd.py",),
        patience_s=8,
    ),
    "sleeping": ObserverDesign("ours: the kernel keeps the books, wakes", daemon=()),
    "scanning": ObserverDesign(
        "ours: BCC programs, the books are scanned every few ms",
        daemon=("--loader", "bcc"),
    ),
}

SERVICES = {
    "none": ObserverDesign("nobody watches"),
    "tfd-xen": ObserverDesign(
        "counters of the rings every 40 ms, failed after two without progress",
        program=("tfd_xen/tfd_xen.py", "--only-watch"),
        patience_s=5,
    ),
    "phoenix-5ms": _phoenix(5),
    "phoenix-15ms": _phoenix(15),
    "phoenix-explicit-5ms": _phoenix(5, "--explicit"),
    "phoenix-explicit-15ms": _phoenix(15, "--explicit"),
    "in-guest": ObserverDesign(
        "its own loop looks whether its parts do their work",
        program=("in_guest/in_guest.py", "--services"),
        patience_s=5,
        service_words="watchdog.ms=20",
    ),
    "sleeping": ObserverDesign("ours: the kernel keeps the books, wakes", daemon=()),
}
"""Beside a service VM instead of Linux guests."""

SIDE_BY_SIDE = ("none", "polling-100ms", "goshd", "sleeping")
"""What `overhead` compares within one boot: those whose guests are the same, and that
start soon enough to take turns."""
ALL_OF_THEM = "sleeping"
"""Whose run stands for such a boot: its folder is the last to be left."""

OFFERED = {
    "detection": DETECTION,
    "services": SERVICES,
    "overhead": {ALL_OF_THEM: DETECTION[ALL_OF_THEM]},
    "scale": {ALL_OF_THEM: DETECTION[ALL_OF_THEM]},
    "tradeoff": {ALL_OF_THEM: DETECTION[ALL_OF_THEM]},
}
QUICK = {
    "detection": ("none", "polling-1s", "pvpanic", "goshd", "sleeping"),
    "services": ("phoenix-15ms", "sleeping"),
    "overhead": (ALL_OF_THEM,),
    "scale": (ALL_OF_THEM,),
    "tradeoff": (ALL_OF_THEM,),
}
"""Those that a quick look compares."""
