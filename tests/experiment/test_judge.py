# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec

from observer.clock import MS
from observer.experiment.arrivals import Arrival
from observer.experiment.faults import FAULTS
from observer.experiment.judge import Stream, Witness, row_of
from observer.model import Outcome, Result, StepKind, Verdict, VerdictKind

MOMENT = 1000 * MS
NIC_HANG = FAULTS["net-failure"]["nic-hang"]
ALL = FAULTS["all-failure"]["all-services-crash"]


def verdict(vm: str, subject: str, kind: VerdictKind, after_ms: float) -> Verdict:
    at = MOMENT + round(after_ms * MS)
    return Verdict("", at, vm, subject, kind, MOMENT, at - MOMENT, f"{vm} said so", "")


def outcome(vm: str, after_ms: float, result: Result = Result.REPAIRED) -> Outcome:
    at, kind = MOMENT + round(after_ms * MS), VerdictKind.PART_HUNG
    return Outcome("", at, vm, vm, kind, StepKind.RESET_PART, result, 5, "")


def stream(*at_ms: float) -> Stream:
    arrivals = [Arrival(k, MOMENT + round(ms * MS)) for k, ms in enumerate(at_ms)]
    return Stream(arrivals, 0, len(arrivals) - 1)


SEEN = Witness(
    round=2,
    moment_ns=MOMENT,
    mended_ns=MOMENT + 90 * MS,
    verdicts=[verdict("net", "net/nic", VerdictKind.PART_HUNG, 40)],
    outcomes=[outcome("net", 80)],
    datagrams=(stream(-20, -10, 0, 75, 85, 95), stream(-10, 0, 82, 92)),
    blocks=(),
    flows=True,
)


def judged(fault=NIC_HANG, *, coarse: bool = False, **changes: object):
    seen = msgspec.structs.replace(SEEN, **changes)
    return row_of("net-failure", "fg", fault, seen, coarse=coarse)


def test_all_times_count_from_the_moment_of_the_fault() -> None:
    """Until the verdict, until the last stream went on, until the debt was paid."""
    row = judged()

    assert (row.detection_ms, row.recovery_ms, row.paid_ms) == (40, 82, 80)
    assert row.longest_gap_ms == 82
    assert (row.detected, row.repaired) == (True, True)
    assert (row.lost_packets, row.sent_packets) == (0, 10)


def test_a_wrong_verdict_is_no_detection() -> None:
    """Of one that says what hangs; of a coarse one, that it failed is enough."""
    wrong = [verdict("net", "net", VerdictKind.SERVICE_HUNG, 40)]

    assert not judged(verdicts=wrong).detected
    assert judged(verdicts=wrong, coarse=True).detected


def test_a_verdict_on_another_vm_is_not_counted() -> None:
    """A guest's symptom says nothing of the service."""
    row = judged(verdicts=[verdict("web", "guest", VerdictKind.GUEST_HUNG, 40)])

    assert not row.detected
    assert row.detection_ms is None


def test_a_stream_that_does_not_go_on_is_not_repaired() -> None:
    """Whatever was said: the receiver is who knows."""
    row = judged(flows=False)

    assert not row.repaired
    assert row.recovery_ms is None


def test_a_failed_step_pays_no_debt() -> None:
    """It flows again, but nobody can say that he did it."""
    row = judged(outcomes=[outcome("net", 80, Result.FAILED)])

    assert not row.repaired
    assert row.paid_ms is None
    assert row.recovery_ms == 82


def test_what_fails_together_is_known_and_mended_when_the_last_one_is() -> None:
    """The later verdict, the later payment."""
    crashed = VerdictKind.VMM_CRASHED
    says = [verdict(vm, vm, crashed, ms) for vm, ms in (("net", 11), ("disk", 14))]
    blocks = [Arrival(k, MOMENT + ms * MS) for k, ms in enumerate((-5, 60, 88, 99))]

    row = judged(
        ALL,
        verdicts=says,
        outcomes=[outcome("net", 80), outcome("disk", 89)],
        blocks=blocks,
    )

    assert row.detected
    assert (row.detection_ms, row.paid_ms, row.recovery_ms) == (14, 89, 82)
    assert not judged(ALL, verdicts=says[:1]).detected
