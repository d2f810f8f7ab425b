# SPDX-License-Identifier: Apache-2.0
"""What a fault is, and what is left of one that was injected: its time and its undoing.

A fault can only be injected into a `Guest`, which is a test guest that we started.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from observer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from observer.guests.guest import Guest

__all__ = ["Fault", "Injection", "inject"]


@dataclass(frozen=True)
class Fault:
    """One name of the vocabulary."""

    plan: str
    """What is done, for a dry run; `guest` may be named in braces."""
    begin: Callable[[Guest, ExitStack], int]
    """Do it, push what undoes it, return the CLOCK_MONOTONIC ns of the effect."""
    passing: bool = False
    """Whether undoing brings the guest back as it was."""
    silent: bool = False
    """Whether an observer must not give a verdict."""
    least_vcpus: int = 1

    def planned(self, guest: Guest) -> str:
        """Say what would be done to the guest, or why it cannot be."""
        if guest.spec.vcpus < self.least_vcpus:
            raise UsageError(
                f"{guest.name} has {guest.spec.vcpus} vCPU; "
                f"start a guest with {self.least_vcpus} or more."
            )
        return self.plan.format(guest=guest)


@dataclass
class Injection:
    """A fault in effect; leaving its block undoes what can be undone."""

    fault: str
    subject: str
    effect_ns: int
    passing: bool
    _stack: ExitStack = field(repr=False)

    def undo(self) -> None:
        """Take the fault away again; more than once does no harm."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


def inject(name: str, guest: Guest, faults: Mapping[str, Fault]) -> Injection:
    """Break the guest in the named way; what was half done is undone on an error."""
    fault = faults[name]
    fault.planned(guest)
    with ExitStack() as stack:
        effect_ns = fault.begin(guest, stack)
        return Injection(name, guest.name, effect_ns, fault.passing, stack.pop_all())
