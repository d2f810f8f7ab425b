# SPDX-License-Identifier: Apache-2.0
"""Ladders: for each verdict the steps that may mend it, the finest means first.

A step's deadline runs from its order until the debt is paid again, not until the act
has returned.
"""

from __future__ import annotations

from observer.clock import MS, SECOND
from observer.model import Step, StepKind, VerdictKind

__all__ = ["FITTING", "LADDERS"]

_PROCESSES = (VerdictKind.VMM_STOPPED, VerdictKind.VMM_HUNG, VerdictKind.VMM_CRASHED)
_GUESTS = (VerdictKind.GUEST_HUNG, VerdictKind.VCPU_HUNG)
_SERVICES = (
    VerdictKind.SERVICE_CRASHED,
    VerdictKind.SERVICE_HUNG,
    VerdictKind.PART_HUNG,
)
_BACK_ENDS = (VerdictKind.BACKEND_CRASHED, VerdictKind.BACKEND_HUNG)

_RESTART_VM = Step(StepKind.RESTART_VM, 120 * SECOND, tries=2, cool_down_ns=SECOND)
_RESTART_BACKEND = Step(
    StepKind.RESTART_BACKEND, 10 * SECOND, tries=2, cool_down_ns=SECOND
)

FITTING: dict[StepKind, tuple[VerdictKind, ...]] = {
    StepKind.CONTINUE: (VerdictKind.VMM_STOPPED, VerdictKind.BACKEND_HUNG),
    StepKind.RESET_PART: (VerdictKind.PART_HUNG,),
    StepKind.SWITCH_TO_SPARE: (*_SERVICES, *_PROCESSES),
    StepKind.RESTART_SERVICE: (*_SERVICES, *_PROCESSES),
    StepKind.RE_KICK: (VerdictKind.BACKEND_HUNG,),
    StepKind.BOUNCE_LINK: (VerdictKind.BACKEND_HUNG,),
    StepKind.RE_CALL: (VerdictKind.GUEST_HUNG,),
    StepKind.INJECT_NMI: _GUESTS,
    StepKind.RESET_GUEST: _GUESTS,
    StepKind.KILL_VMM: (VerdictKind.VMM_STOPPED, VerdictKind.VMM_HUNG),
    StepKind.RESTART_VM: _PROCESSES,
    StepKind.RESTART_BACKEND: _BACK_ENDS,
}
"""What each step can mend at all; a ladder that names it elsewhere is refused."""

_ANEW = (
    Step(StepKind.SWITCH_TO_SPARE, SECOND),
    Step(StepKind.RESTART_SERVICE, 10 * SECOND, tries=2),
)

LADDERS: dict[VerdictKind, tuple[Step, ...]] = {
    VerdictKind.VMM_CRASHED: (*_ANEW, _RESTART_VM),
    VerdictKind.VMM_STOPPED: (  # whoever stops it again may be a debugger
        Step(StepKind.CONTINUE, SECOND),
        *_ANEW,
    ),
    VerdictKind.VMM_HUNG: (*_ANEW, _RESTART_VM),
    VerdictKind.BACKEND_CRASHED: (_RESTART_BACKEND,),
    VerdictKind.BACKEND_HUNG: (
        Step(StepKind.RE_KICK, 250 * MS, tries=2, cool_down_ns=50 * MS),
        Step(StepKind.CONTINUE, SECOND),
        Step(StepKind.BOUNCE_LINK, 2 * SECOND),
        _RESTART_BACKEND,
    ),
    VerdictKind.BACKEND_STARVED: (),  # no restart gives it a CPU
    VerdictKind.BACKEND_BLOCKED: (),  # nor brings the host's storage back
    VerdictKind.GUEST_HUNG: (
        Step(StepKind.RE_CALL, 250 * MS),
        Step(StepKind.INJECT_NMI, 2 * SECOND),
        Step(StepKind.RESET_GUEST, 120 * SECOND),
    ),
    VerdictKind.VCPU_HUNG: (
        Step(StepKind.INJECT_NMI, 2 * SECOND),
        Step(StepKind.RESET_GUEST, 120 * SECOND),
    ),
    VerdictKind.SERVICE_CRASHED: _ANEW,
    VerdictKind.SERVICE_HUNG: _ANEW,
    VerdictKind.PART_HUNG: (
        Step(StepKind.RESET_PART, SECOND, tries=2, cool_down_ns=50 * MS),
        *_ANEW,
    ),
}
"""What is done where the policy says nothing else; an empty one escalates at once."""
