# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from observer.clock import MS
from observer.confirm.vcpu import Lateness, VcpuLook, count_from, judge_vcpu
from observer.model import Confirmed, LookAgain, Refuted, VerdictKind

IF = 1 << 9
SPINNING = VcpuLook(
    own_exits=40,
    host_exits=9,
    runtime_ns=0,
    rip=0xFFFF,
    rflags=0x2,
    isa=2,
    in_guest=True,
)
LATE = Lateness(since_ns=0, runtime_ns=101 * MS, vcpu_id=1, late=1, of=2)


def later(first: VcpuLook, runtime_ns: int = 25 * MS, **changes: int) -> VcpuLook:
    return msgspec.structs.replace(first, runtime_ns=runtime_ns, **changes)


def test_interrupts_off_and_no_exit_is_a_hang() -> None:
    """One of two vCPUs that ran on without an exit, masked, is named by its number."""
    look = judge_vcpu(SPINNING, later(SPINNING), LATE, 25 * MS, answered=None)

    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.VCPU_HUNG
    assert look.subject == "vcpu1"
    assert "126 ms" in look.evidence


def test_all_vcpus_out_is_a_hung_guest() -> None:
    """Where no vCPU is left the guest as a whole hangs."""
    alone = msgspec.structs.replace(LATE, late=1, of=1)
    look = judge_vcpu(SPINNING, later(SPINNING), alone, 25 * MS, answered=None)

    assert isinstance(look, Confirmed)
    assert look.kind is VerdictKind.GUEST_HUNG


def test_an_exit_of_its_own_refutes() -> None:
    """A vCPU that exits after the suspicion is alive."""
    now = later(SPINNING, own_exits=41)
    assert isinstance(judge_vcpu(SPINNING, now, LATE, 25 * MS, answered=None), Refuted)


def test_the_second_look_needs_more_cpu_time() -> None:
    """A vCPU that did not run since the first look has not been looked at twice."""
    idle = later(SPINNING, runtime_ns=5 * MS)

    soon = judge_vcpu(SPINNING, idle, LATE, 10 * MS, answered=None)
    never = judge_vcpu(SPINNING, idle, LATE, 5000 * MS, answered=None)

    assert isinstance(soon, LookAgain)
    assert isinstance(never, Refuted)


def test_what_its_vmm_computes_is_not_the_guests_time() -> None:
    """A device's reset keeps a vCPU's thread in QEMU, 60 ms where it is emulated."""
    at_work = later(SPINNING, in_guest=False)
    back = later(SPINNING, runtime_ns=30 * MS)

    first = count_from(SPINNING, at_work)
    soon = judge_vcpu(first, at_work, LATE, 25 * MS, answered=None)
    then = judge_vcpu(count_from(first, back), back, LATE, 35 * MS, answered=None)

    assert isinstance(soon, LookAgain)
    assert isinstance(then, LookAgain)


def test_a_tickless_guest_is_asked_first() -> None:
    """With interrupts on a long computation is possible: the guest's answer decides."""
    computing = msgspec.structs.replace(SPINNING, rflags=IF)
    now = later(computing)

    unasked = judge_vcpu(computing, now, LATE, 25 * MS, answered=None)
    alive = judge_vcpu(computing, now, LATE, 25 * MS, answered=True)
    dead = judge_vcpu(computing, now, LATE, 25 * MS, answered=False)

    assert unasked == LookAgain(0, "its interrupts may be on: ask the guest")
    assert isinstance(alive, Refuted)
    assert isinstance(dead, Confirmed)


@pytest.mark.parametrize("isa", [1, 2])
def test_where_flags_are_unknown_the_guest_is_asked(isa: int) -> None:
    """On VMX they are not in memory, on SVM they may be encrypted: never a verdict."""
    unread = msgspec.structs.replace(SPINNING, isa=isa, rip=0, rflags=0)
    look = judge_vcpu(unread, later(unread), LATE, 25 * MS, answered=None)
    assert isinstance(look, LookAgain)
