# SPDX-License-Identifier: Apache-2.0
"""What the papers and tools say themselves, with where; and what differs from ours.

Facts to cite, none of them measured here.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "BY_DESIGN",
    "IMPLICIT_CPU_SAVED",
    "IMPLICIT_SOONER",
    "PUBLISHED",
    "Figure",
    "detection_of",
]

IMPLICIT_CPU_SAVED, IMPLICIT_SOONER = 0.13, 0.0515
"""Phoenix, section V-E: CPU time of its pVM, detection of a crash of net_uk."""

PHOENIX = "Phoenix (DSN 2020)"
HYPERTAP = "HyperTap (DSN 2014)"
ORBIT = "Orbit (OSDI 2022)"

XEN = (
    "Xen 4.10 on a 48-core host with 1 GbE and TailBench, the driver killed; here "
    "KVM, emulated, tap and vhost, and both crash and hang."
)
REBUILT = f"Built again by Phoenix's authors. {XEN}"
DEFAULT = "A default, not a measurement; here the same settings run."


class Figure(NamedTuple):
    """One published figure."""

    system: str
    what: str
    value: str
    where: str
    differs: str


PUBLISHED = (
    Figure(
        f"{PHOENIX}, fine-grained",
        "NIC driver failure: detection; recovery; outgoing packets lost",
        "27.27 ms; 4.7 s; 0",
        "table IV",
        f"{XEN} Its t_max of about 4 s (section IV-B) cannot give 27 ms for a hang, "
        "so the figure is one of a kill.",
    ),
    Figure(
        f"{PHOENIX}, coarse-grained",
        "NIC driver failure: detection; recovery; outgoing packets lost",
        "98.2 ms; 6.9 s; 425,866",
        "table IV",
        XEN,
    ),
    Figure(
        f"{PHOENIX}, coarse-grained",
        "crash of net_uk under sphinx: detection with; without implicit heartbeats",
        "141.8 ms; 149.5 ms (5.15 % less)",
        "section V-E",
        "Neither period nor missed beats of its heartbeat are stated; here 5 ms to "
        "answer after 5 or 15 ms without a sign.",
    ),
    Figure(
        PHOENIX,
        "CPU time of the pVM saved by implicit heartbeats, fault-free",
        "13 %",
        "section V-E",
        "CPU time of a whole disaggregated dom0; here of one service VM and of the "
        "program that asks it.",
    ),
    Figure(
        PHOENIX,
        "XenStore: crash; corruption detected; repaired",
        "1.54 ms; 5.04 ms; 25.54 ms",
        "section V-A",
        "Replicas behind etcd; not part of this study.",
    ),
    Figure(
        PHOENIX,
        "overhead on I/O-intensive applications; TailBench at most, mean/p95/p99",
        "1 to 3 %; +17.9/+27.8/+10.4 %",
        "section V; computed from table VI",
        "Its text says 12.7 % at most at p95; the table is taken. Guests of 16 vCPUs "
        "and 16 GB there.",
    ),
    Figure(
        "TFD-Xen, in Phoenix",
        "NIC driver failure: detection; recovery; outgoing packets lost",
        "102.1 ms; 0.8 s; 2,379",
        "Phoenix, table IV",
        f"{REBUILT} Needs a spare NIC.",
    ),
    Figure(
        "Xoar, in Phoenix",
        "NIC driver failure: detection; recovery; outgoing packets lost",
        "52 s; 6.9 s; 1,870,921",
        "Phoenix, table IV",
        f"{REBUILT} Refreshed each second.",
    ),
    Figure(
        "Warm-spare driver VMs (HPL-2009-115)",
        "NIC driver failure: recovery",
        "under 10 ms",
        "abstract",
        "Real hardware and a second NIC; the best published one.",
    ),
    Figure(
        HYPERTAP,
        "guest hang: detection; coverage",
        "≥ 4 s, over 90 % at 4 s, all by 32 s; 99.8 %",
        "evaluation",
        "A patched KVM that traps each context switch, lock faults at 374 places; "
        "here its rule on what a stock KVM shows.",
    ),
    Figure(
        HYPERTAP,
        "overhead: CPU; disk; context switch; system call (UnixBench)",
        "< 2 %; < 5 %; about 10 %; 19 %",
        "evaluation",
        "All three auditors, real hardware.",
    ),
    Figure(
        ORBIT,
        "overhead on throughput: median; largest",
        "3.3 %; 10.2 %",
        "section 5",
        "Observers of eight applications on a kernel of its own; it tells no "
        "detection times; here a fork for each call on a stock kernel.",
    ),
    Figure(
        ORBIT,
        "observer that crashes: application unharmed",
        "8 of 8",
        "section 5.4",
        "A null pointer in each observer; here the whole observer is killed or "
        "stopped where it lives, and orbit's check has a null pointer too.",
    ),
    Figure(
        "VMResponder (DSN)",
        "all",
        "not available",
        "no text that we could read",
        "vm-per-vm is like it in having a VM for each VM; nothing else is known.",
    ),
    Figure(
        "FiDe (ATC 2025)",
        "process crash: mean; largest",
        "4.58 µs; 26.54 µs",
        "evaluation",
        "A core of its own with interrupts off; crashes alone, no hang.",
    ),
    Figure(
        "Falcon (SOSP 2011), in FiDe",
        "crash of an operating system",
        "204 ms",
        "FiDe, table 2",
        "Spies inside of application and guest.",
    ),
    Figure(
        "OmegaGen (NSDI 2020)",
        "partial failures: seen; median",
        "20 of 22; 4.2 s",
        "evaluation",
        "Watchdogs generated into the observed program.",
    ),
    Figure(
        "Panorama (OSDI 2018)",
        "gray failures",
        "15 of 15 in 0.2 to 7 s",
        "evaluation",
        "Clients of distributed services report.",
    ),
    Figure(
        "OpenStack Masakari",
        "guest agent asked every; timeout; misses",
        "10 s; 2 s; 3",
        "introspectiveinstancemonitor.py",
        DEFAULT,
    ),
    Figure("i6300esb watchdog", "timeout", "30 s", "Linux, i6300esb.c", DEFAULT),
    Figure("vSphere HA", "VM monitoring", "30 s", "failureInterval", DEFAULT),
    Figure(
        "Google Compute Engine",
        "an unresponsive VM is restarted after",
        "90 to 330 s",
        "hostErrorTimeoutSeconds",
        "A default; nothing of it runs here.",
    ),
)

BY_DESIGN = {
    "goshd": "HyperTap: ≥ 4 s",
    "phoenix-5ms": "Phoenix: 27.27 ms (driver), 98.2 to 141.8 ms (net_uk)",
    "phoenix-15ms": "Phoenix: 27.27 ms (driver), 98.2 to 141.8 ms (net_uk)",
    "phoenix-explicit-5ms": "Phoenix, no implicit beats: 149.5 ms",
    "phoenix-explicit-15ms": "Phoenix, no implicit beats: 149.5 ms",
    "tfd-xen": "TFD-Xen, in Phoenix: 102.1 ms",
    "tfd-xen-like": "TFD-Xen, in Phoenix: 102.1 ms",
    "xoar": "Xoar, in Phoenix: 52 s",
    "xoar-like": "Xoar, in Phoenix: 52 s",
    "orbit": "Orbit: no figure",
    "vm-per-vm": "VMResponder: not public",
    "polling-10s": "Masakari's defaults: over 30 s",
    "watchdog-30s": "i6300esb's default: 30 s",
    "pvpanic": "one exit, no figure",
}
"""In a word, for the row of a design."""


def detection_of(design: str) -> str:
    """What is published of its detection; nothing where it is not known."""
    return BY_DESIGN.get(design, "")
