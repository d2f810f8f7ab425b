# SPDX-License-Identifier: Apache-2.0
"""In which order designs and faults stand in tables, and which designs are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CASES",
    "DESIGNS",
    "MAIN",
    "OBSERVER_FAULTS",
    "OURS",
    "OUR_CARE",
    "SILENT",
    "in_order",
]

MAIN = "sleeping"
"""Ours by default; the others of ours are compared with it."""
OURS = (MAIN, "scanning")

OUR_CARE = ("fg", "cg", "spare")
"""Ours that mend: see docs/experiments.md."""

DESIGNS = (
    *(*OURS, "none", "in-guest", "orbit", "vm-per-vm"),
    *("polling-100ms", "polling-1s", "polling-10s", "watchdog-1s", "watchdog-30s"),
    *("pvpanic", "guest-agent", "goshd"),
    *("phoenix-5ms", "phoenix-15ms", "phoenix-explicit-5ms", "phoenix-explicit-15ms"),
    *("tfd-xen", "xoar"),
    *(*OUR_CARE, "tfd-xen-like", "xoar-like", "linux-vm"),
)
OBSERVER_FAULTS = ("observer-crash", "observer-stop")
SILENT = (
    *("idle", "load", "asked", "busy", "link-down", "boot"),
    *("paused", "snapshot", "migrating", "host-overload"),
)
CASES = (
    *("vmm-crash", "vmm-stop", "backend-crash", "backend-hang", "backend-starved"),
    *("lost-kick", "lost-call", "guest-panic", "guest-irqoff-spin", "guest-halt"),
    *("vcpu-lockup", "nic-hang", "netback-hang", "service-crash", "service-hang"),
    *("disk-hang", "target-hang", "all-services-crash", *OBSERVER_FAULTS),
    *SILENT,
)


def in_order(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Each once: known ones first, in their order, then the others as they came."""
    there = dict.fromkeys(names)
    first = [n for n in dict.fromkeys(known) if n in there]
    return first + [n for n in there if n not in known]
