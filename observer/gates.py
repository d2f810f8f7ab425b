# SPDX-License-Identifier: Apache-2.0
"""What keeps a suspicion from becoming a verdict: planned work, and booting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.kernel.cells import RingFlag, RingKind

if TYPE_CHECKING:
    from observer.clock import Clock
    from observer.kernel.cells import Cells

__all__ = ["Inhibitions", "booting"]


class Inhibitions:
    """Which VMs an operator works on, until when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ns: dict[str, int] = {}

    def inhibit(self, vm: str, for_ns: int) -> None:
        """Let no verdict be given about a VM for a while."""
        self._until_ns[vm] = self._clock.now_ns() + for_ns

    def resume(self, vm: str) -> bool:
        """Judge it again; False if it was judged all along."""
        return self._until_ns.pop(vm, 0) > self._clock.now_ns()

    def left_ns(self, vm: str) -> int:
        """How long it is still inhibited, 0 if it is not."""
        return max(0, self._until_ns.get(vm, 0) - self._clock.now_ns())


def booting(
    *, age_ns: int, boot_ns: int, vcpus: Cells, rings: Cells, has_tap: bool
) -> bool:
    """Say whether a guest is not up yet, or again.

    Up is one that has halted once and drives a ring: firmware and a kernel that unpacks
    itself do neither, or not both.  Firmware does read disks, so that a guest with a
    tap is up when its NIC is driven.  `vcpus` and `rings` are the cells of this VM.
    """
    vhost = rings[rings["kind"] == RingKind.VHOST]
    if len(vhost) and not (vhost["flags"] & RingFlag.LIVE).any():
        return True  # its driver is gone: a reset
    if age_ns >= boot_ns:
        return False
    driven = len(vhost) > 0 if has_tap else (rings["kicks"] > 0).any()
    return not (vcpus["halts"] > 0).any() or not driven
