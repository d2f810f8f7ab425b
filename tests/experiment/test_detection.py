# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS
from observer.experiment.cases import CASES, lives_of
from observer.experiment.detection import judged, silent_case
from observer.inject.faults import GUEST_FAULTS
from observer.model import Verdict, VerdictKind


def verdict(vm: str, kind: VerdictKind, subject: str, ms: int) -> Verdict:
    return Verdict("", ms * MS, vm, subject, kind, 0, 0, "seen", "")


HUNG, STARVED = VerdictKind.GUEST_HUNG, VerdictKind.BACKEND_STARVED


@pytest.mark.parametrize(
    ("said", "is_ours", "ms", "wrong"),
    [
        ([], True, None, 0),
        ([verdict("web1", HUNG, "guest", 70)], True, 20.0, 0),
        ([verdict("web1", STARVED, "vhost-1", 70)], True, None, 1),
        ([verdict("web1", STARVED, "vhost-1", 70)], False, 20.0, 0),
        ([verdict("db1", HUNG, "guest", 60)], False, None, 1),
        (
            [
                verdict("db1", HUNG, "guest", 60),
                verdict("web1", HUNG, "guest", 80),
                verdict("web1", HUNG, "guest", 90),
            ],
            True,
            30.0,
            1,
        ),
    ],
)
def test_a_fault_is_judged_by_the_first_right_verdict(
    said: list[Verdict], *, is_ours: bool, ms: float | None, wrong: int
) -> None:
    """Ours must name kind and subject, a comparator the VM; the rest is wrong."""
    row = judged(
        CASES["guest-halt"], "web1", 50 * MS, said, is_ours=is_ours, waited_ms=100
    )

    assert (row.detected, row.detection_ms) == (ms is not None, ms)
    assert row.wrong_verdicts == wrong
    assert bool(row.verdict_ns) == row.detected


def test_what_is_said_after_a_fault_detects_nothing_but_may_be_wrong() -> None:
    """The right one came too late to count; one on another VM is false."""
    later = [verdict("web1", HUNG, "guest", 90), verdict("db1", HUNG, "guest", 95)]
    row = judged(
        CASES["guest-halt"], "web1", 50 * MS, [], is_ours=True, waited_ms=9, later=later
    )

    assert (row.detected, row.wrong_verdicts) == (False, 1)


def test_whatever_is_said_in_a_silent_case_is_wrong() -> None:
    """Each verdict counts, whomever it is about."""
    said = [verdict("web1", HUNG, "guest", 1), verdict("db1", HUNG, "guest", 2)]
    row = silent_case("paused", "web1", 0, said, 9.0)

    assert (row.silent, row.detected, row.wrong_verdicts) == (True, False, 2)
    assert silent_case("idle", "web1", 0, [], 9.0).wrong_verdicts == 0


@given(st.sets(st.sampled_from(sorted(CASES))), st.integers())
def test_a_life_ends_with_what_nothing_undoes(faults: set[str], seed: int) -> None:
    """Each fault comes once, and nothing comes after one that is fatal."""
    lives = lives_of(sorted(faults), random.Random(seed))  # noqa: S311 - no secret

    assert sorted(case.fault for life in lives for case in life) == sorted(faults)
    for life in lives:
        assert not {"backend-crash", "lost-kick"} <= {case.fault for case in life}
        assert len({case.guest for case in life}) == 1
        assert not any(case.fatal for case in life[:-1])
        undone = [GUEST_FAULTS[case.fault].passing for case in life]
        assert undone == sorted(undone, reverse=True)
