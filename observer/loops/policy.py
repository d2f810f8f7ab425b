# SPDX-License-Identifier: Apache-2.0
"""What an operator lets be repaired, and how: the table [repair] of the policy.

[repair]
dry_run = false                  # default true: only say what would be done
care = ["net", "disk", "web-*"]  # names of VMs; nothing else is ever touched
[repair.uses]                    # the repair graph: who uses whom
"web-*" = ["net", "disk"]
[[repair.ladders.part-hung]]     # instead of the ladder that is built in
do = "reset-part"
deadline = "1s"
tries = 2
cool_down = "50ms"
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from observer.loops.global_loop import Rates
from observer.loops.graph import find_cycle
from observer.loops.ladder import FITTING, LADDERS
from observer.model import Step, VerdictKind

__all__ = ["RepairPolicy"]

_MOST_TRIES = 100


class RepairPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to care for, in what order, by what means, how often at most."""

    dry_run: bool = True
    care: tuple[str, ...] = ()
    uses: dict[str, tuple[str, ...]] = {}
    ladders: dict[VerdictKind, tuple[Step, ...]] = {}
    rates: Rates = Rates()

    def cares_for(self, vm: str) -> bool:
        """Whether the operator has named it."""
        return any(fnmatchcase(vm, pattern) for pattern in self.care)

    def mends(self, vm: str) -> bool:
        """Whether something is really done about it."""
        return self.cares_for(vm) and not self.dry_run

    def ladder(self, kind: VerdictKind) -> tuple[Step, ...]:
        """What is done about a verdict, in this order."""
        return self.ladders.get(kind, LADDERS[kind])

    def wrong(self) -> str | None:
        """What is wrong with it, as a key and a reason; None: nothing."""
        if cycle := find_cycle(self.uses):
            return f"uses: {' uses '.join(cycle)}, so none could ever be first"
        for kind, ladder in self.ladders.items():
            for step in ladder:
                if kind not in FITTING[step.do]:
                    return f"ladders.{kind}: {step.do} cannot mend that"
                if not 1 <= step.tries <= _MOST_TRIES:
                    return (
                        f"ladders.{kind}: {step.do} is tried 1 to {_MOST_TRIES} times"
                    )
        rates = self.rates
        if rates.vm < 1 or rates.host < 1:
            return "rates: at least 1; to repair nothing, leave `care` empty"
        return None
