# SPDX-License-Identifier: Apache-2.0
"""The designs that are compared.  A design is data: who takes care, and what is up.

Either `observer run` takes care under a policy, or a comparator: a program of
`experiments` that says verdicts and outcomes in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from observer.experiment.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DESIGNS", "Design", "Offer", "faults_of", "offers"]

_CARE = """\
[repair]
dry_run = false
care = ["net", "disk"]
rates = { vm = 1000, host = 1000, window = "1m" }
"""
_RESTART = """\
[[repair.ladders.part-hung]]
do = "restart-service"
deadline = "10s"
tries = 2
"""
_SWITCH = "".join(
    f"""\
[[repair.ladders.{kind}]]
do = "switch-to-spare"
deadline = "2s"
"""
    for kind in ("part-hung", "service-hung", "service-crashed", "vmm-crashed")
)


@dataclass(frozen=True)
class Design:
    """Who takes care of the services, and how."""

    does: str
    policy: str | None = None
    """The observer's."""
    comparator: str = ""
    """A file below `experiments`, given the services' names, where no policy is."""
    keeps: bool = False
    """The comparator is itself what keeps the service."""
    spare: bool = False
    """The service's spare is booted beside it."""
    readies: bool = False
    """The comparator says before each fault that it is ready for one."""
    left_s: float | None = None
    """Nobody mends: a fault is left for so long, then cleared away."""
    phase_s: float = 0.0
    """A fault comes at any moment of so long: where a design has a period."""
    faults: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {name: tuple(its) for name, its in FAULTS.items()}
    )
    """Of each experiment, those that it can face."""


_NET = {"net-failure": tuple(FAULTS["net-failure"])}

DESIGNS = {
    "fg": Design(
        "the observer; a part is reset, else the service restarted on its memory",
        policy=_CARE,
    ),
    "cg": Design(
        "the observer; the service is restarted on its memory, frames parked",
        policy=_CARE + _RESTART,
    ),
    "spare": Design(
        "the observer; a booted spare is switched in",
        policy=_CARE + _SWITCH,
        spare=True,
    ),
    "none": Design(
        "nobody; after 5 s all is begun anew on fresh memory, nothing is parked",
        comparator="none/none.py",
        keeps=True,
        left_s=5.0,
    ),
    "tfd-xen-like": Design(
        "counters polled every 40 ms, failed after 2 without progress; standby VM",
        comparator="tfd_xen/tfd_xen.py",
        keeps=True,
        readies=True,
        faults=_NET,
    ),
    "xoar-like": Design(
        "restarted every 5 s on fresh memory, whether it failed or not",
        comparator="xoar/xoar.py",
        keeps=True,
        phase_s=5.0,
        faults=_NET,
    ),
    "linux-vm": Design(
        "a bridge in a Linux VM; started again at once when it is gone",
        comparator="linux_vm/linux_vm.py",
        keeps=True,
        faults={"net-failure": ("vmm-crash",)},
    ),
}


class Offer(msgspec.Struct, frozen=True):
    """A design in an experiment."""

    experiment: str
    design: str
    does: str
    faults: tuple[str, ...]


def offers() -> list[Offer]:
    """All that can be run."""
    return [
        Offer(experiment, name, its.does, tuple(faced))
        for experiment in FAULTS
        for name, its in DESIGNS.items()
        if (faced := its.faults.get(experiment))
    ]


def faults_of(
    experiment: str, designs: Sequence[str], faults: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """What each of these designs faces in an experiment; without faults named, all."""
    return {
        name: tuple(
            fault
            for fault in DESIGNS[name].faults.get(experiment, ())
            if not faults or fault in faults
        )
        for name in designs
    }
