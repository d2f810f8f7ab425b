# SPDX-License-Identifier: Apache-2.0
"""What an operator lets be repaired, and how: the table [repair] of the policy.

[repair]
dry_run = false                  # default true: only say what would be done
care = ["net", "disk", "web-*"]  # names of VMs; nothing else is ever touched
in_order = ["web-*"]             # their back ends end requests in order (back_end.py)
[repair.uses]                    # the repair graph: who uses whom
"web-*" = ["net", "disk"]
[repair.restart]                 # how a VM is started again, if not by its command line
"db-*" = { unit = "qemu@{vm}.service" }      # systemctl restart
"app-*" = { domain = "{vm}" }                # virsh start
"old-*" = { command = ["/etc/vms/start", "{vm}"] }
"web-*" = { recorded = true }    # by its command line, though its parent lives: nobody
                                 # else starts it again
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

__all__ = ["RepairPolicy", "Restart"]

_MOST_TRIES = 100
_NAME = "{vm}"


class Restart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a VM is started again, one of four ways; `{vm}` in it is the VM's name."""

    unit: str = ""
    domain: str = ""
    command: tuple[str, ...] = ()
    recorded: bool = False
    """By its recorded command line: nobody else starts it again."""

    def argv(self, vm: str) -> tuple[str, ...]:
        """What is run; nothing where its own command line is."""
        argv = self.command
        if self.unit:
            argv = ("systemctl", "restart", "--", self.unit)
        if self.domain:
            argv = ("virsh", "start", "--domain", self.domain)
        return tuple(word.replace(_NAME, vm) for word in argv)

    def ways(self) -> int:
        """How many of the ways it names."""
        return sum(map(bool, (self.unit, self.domain, self.command, self.recorded)))


class RepairPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to care for, in what order, by what means, how often at most."""

    dry_run: bool = True
    care: tuple[str, ...] = ()
    uses: dict[str, tuple[str, ...]] = {}
    ladders: dict[VerdictKind, tuple[Step, ...]] = {}
    rates: Rates = Rates()
    restart: dict[str, Restart] = {}
    in_order: tuple[str, ...] = ()
    """VMs whose back ends end each request before the next, or in their order: one that
    keeps no record of those in flight may then be started again."""

    def cares_for(self, vm: str) -> bool:
        """Whether the operator has named it."""
        return any(fnmatchcase(vm, pattern) for pattern in self.care)

    def mends(self, vm: str) -> bool:
        """Whether something is really done about it."""
        return self.cares_for(vm) and not self.dry_run

    def ladder(self, kind: VerdictKind) -> tuple[Step, ...]:
        """What is done about a verdict, in this order."""
        return self.ladders.get(kind, LADDERS[kind])

    def restart_of(self, vm: str) -> Restart | None:
        """How the operator wants it started again; the first pattern says."""
        return next(
            (way for name, way in self.restart.items() if fnmatchcase(vm, name)), None
        )

    def is_in_order(self, vm: str) -> bool:
        """Whether the operator says that its back ends serve in order."""
        return any(fnmatchcase(vm, pattern) for pattern in self.in_order)

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
        for name, way in self.restart.items():
            if way.ways() != 1:
                return f"restart.{name}: one of unit, domain, command, recorded"
        rates = self.rates
        if rates.vm < 1 or rates.host < 1:
            return "rates: at least 1; to repair nothing, leave `care` empty"
        return None
