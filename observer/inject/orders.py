# SPDX-License-Identifier: Apache-2.0
"""Faults inside of a guest, each an order that the guest itself carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import ExitStack

    from observer.guests.guest import Guest

__all__ = [
    "be_busy",
    "be_idle",
    "halt",
    "link_down",
    "lock_up",
    "lose_call",
    "lose_kick",
    "panic",
    "spin",
]


def panic(guest: Guest, _stack: ExitStack) -> int:
    """Have the guest's kernel panic."""
    return guest.order("panic")


def spin(guest: Guest, _stack: ExitStack) -> int:
    """Have all vCPUs loop with interrupts off."""
    return guest.order("irqoff-spin")


def halt(guest: Guest, _stack: ExitStack) -> int:
    """Have all vCPUs halt with interrupts off."""
    return guest.order("halt")


def lock_up(guest: Guest, _stack: ExitStack) -> int:
    """Have the last vCPU loop with interrupts off; the others go on."""
    return guest.order(f"lockup {guest.spec.vcpus - 1}")


def lose_kick(guest: Guest, _stack: ExitStack) -> int:
    """Have a guest that sends not write its network's doorbell; it has not, by then."""
    return guest.order("lost-kick")


def lose_call(guest: Guest, _stack: ExitStack) -> int:
    """Have the guest ignore the next interrupt of its network."""
    return guest.order("lost-call")


def be_idle(guest: Guest, _stack: ExitStack) -> int:
    """Leave the guest with nothing to do."""
    return guest.order("idle")


def be_busy(guest: Guest, stack: ExitStack) -> int:
    """Load the guest's CPU, network and disk."""
    stack.callback(guest.order, "idle")
    effect_ns = guest.order("busy cpu")
    guest.order("busy net")
    guest.order("busy disk")
    return effect_ns


def link_down(guest: Guest, stack: ExitStack) -> int:
    """Have the guest take its network down, and up in the end."""
    stack.callback(guest.order, "link up")
    return guest.order("link down")
