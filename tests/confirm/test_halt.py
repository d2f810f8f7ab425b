# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS
from observer.confirm.halt import HaltLook, judge_halt
from observer.kernel.exits import ISA_SVM, ISA_VMX
from observer.model import Confirmed, LookAgain, Refuted, VerdictKind

OFF, ON, UNREAD = 0x2, 0x202, 0
ENDED = HaltLook(own_exits=7, halted=True, isa=ISA_SVM, rip=0xF2, rflags=OFF)
LATE_NS = 60 * MS


def judged(before: list[HaltLook], now: list[HaltLook], age_ns: int = 10 * MS):
    return judge_halt(before, now, since_ns=3, age_ns=age_ns)


@pytest.mark.parametrize("vcpus", [1, 2, 4])
def test_a_guest_whose_vcpus_all_halted_for_good_hangs(vcpus: int) -> None:
    """It is said where they did, and since when."""
    look = judged([ENDED] * vcpus, [ENDED] * vcpus)

    assert isinstance(look, Confirmed)
    assert (look.kind, look.since_ns) == (VerdictKind.GUEST_HUNG, 3)
    assert "0xf2" in look.evidence


@pytest.mark.parametrize(
    "change",
    [
        {"rflags": ON},  # idle
        {"rflags": UNREAD},  # encrypted
        {"isa": ISA_VMX},  # not read there
        {"halted": False},  # runs
    ],
)
def test_one_that_may_go_on_is_no_end(change: dict[str, object]) -> None:
    """The others are waited for, a little."""
    vcpus = [ENDED, msgspec.structs.replace(ENDED, **change)]

    assert isinstance(judged(vcpus, vcpus), LookAgain)
    assert isinstance(judged(vcpus, vcpus, LATE_NS), Refuted)


@given(st.integers(0, 5))
def test_one_that_an_nmi_woke_has_not_ended(exits: int) -> None:
    """It halted again since: that is another halt than the one that was seen."""
    again = msgspec.structs.replace(ENDED, own_exits=7 + exits)

    assert isinstance(judged([ENDED], [again], LATE_NS), Refuted) == bool(exits)


def test_a_vm_without_vcpus_is_no_dead_guest() -> None:
    """Its cells went just now."""
    assert isinstance(judged([], [], LATE_NS), Refuted)
