# SPDX-License-Identifier: Apache-2.0
import numpy as np

from observer.clock import MS, SECOND
from observer.gates import Inhibitions, booting
from observer.kernel.cells import RING, VCPU, RingFlag, RingKind


class FakeClock:
    ns = 0

    def now_ns(self) -> int:
        return self.ns


def is_booting(
    halts: int,
    kicks: int,
    flags: int = RingFlag.LIVE,
    age_ns: int = 5 * SECOND,
    kind: RingKind = RingKind.VHOST,
    *,
    has_tap: bool = True,
) -> bool:
    vcpus, rings = np.zeros(1, VCPU), np.zeros(2, RING)
    vcpus["halts"] = halts
    rings["kicks"], rings["flags"], rings["kind"] = kicks, flags, kind
    return booting(
        age_ns=age_ns,
        boot_ns=120 * SECOND,
        vcpus=vcpus,
        rings=rings,
        has_tap=has_tap,
    )


def test_up_is_who_halted_and_drives_a_ring() -> None:
    """Firmware halts, a kernel that unpacks itself does neither: both still boot."""
    assert is_booting(halts=0, kicks=0)
    assert is_booting(halts=9, kicks=0, kind=RingKind.USER, has_tap=False)
    assert is_booting(halts=0, kicks=9)
    assert not is_booting(halts=9, kicks=9)


def test_firmware_that_reads_a_disk_is_not_up_yet() -> None:
    """A guest with a tap is up when its NIC is driven; else a disk must do."""
    assert is_booting(9, 9, kind=RingKind.USER)
    assert not is_booting(9, 9, kind=RingKind.USER, has_tap=False)


def test_a_guest_whose_driver_left_its_rings_boots_again() -> None:
    """However old it is: vhost has no back end attached, so it was reset."""
    assert is_booting(halts=9, kicks=9, flags=0)
    assert is_booting(halts=9, kicks=9, flags=0, age_ns=9999 * SECOND)


def test_booting_ends_after_its_limit() -> None:
    """A guest that never drives a ring is judged after the boot limit all the same."""
    assert not is_booting(halts=0, kicks=0, age_ns=121 * SECOND)


def test_inhibition_ends_by_itself_or_by_resume() -> None:
    """It holds for its time, and resume tells whether there was one."""
    clock = FakeClock()
    gate = Inhibitions(clock)
    gate.inhibit("a", 10 * MS)
    gate.inhibit("b", 10 * MS)

    assert gate.left_ns("a") == 10 * MS
    assert gate.resume("a")
    assert not gate.resume("a")
    clock.ns = 10 * MS
    assert gate.left_ns("b") == 0
    assert not gate.resume("b")
