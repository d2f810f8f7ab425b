# SPDX-License-Identifier: Apache-2.0
"""The moment at which a service obeyed a fault, by the kernel's own trace.

A service says so with a hypercall of its own before it breaks; the trace of it gives
the host's monotonic time.  The way that the order took has no part in it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from observer.experiment.event_trace import TRACING, US
from observer.experiment.hypercall_trace import HypercallTrace, hypercall_trace
from observer.services.abi import Abi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FaultTrace", "fault_trace"]

INSTANCE = "observer-faults"


class FaultTrace:
    """A trace of hypercalls, read for the faults that were obeyed."""

    def __init__(self, trace: HypercallTrace, abi: Abi) -> None:
        self._trace, self._abi = trace, abi

    def fileno(self) -> int:
        """To wait on: readable when something was traced."""
        return self._trace.fileno()

    def take(self, service: str, since_ns: int) -> int | None:
        """When the service obeyed one after a moment; None: it has not yet."""
        number = self._abi["HYPERCALL_FAULT"]
        return min(
            (
                call.ns
                for call in self._trace.take()
                if call.number == number
                and self._abi.service_name(call.arguments[0]) == service
                and call.ns >= since_ns - US
            ),
            default=None,
        )


@contextmanager
def fault_trace(root: Path = TRACING) -> Iterator[FaultTrace]:
    """Trace the faults that services obey while the block runs; needs root and KVM."""
    abi = Abi.of_header()
    with hypercall_trace(INSTANCE, abi["HYPERCALL_FAULT"], root) as trace:
        yield FaultTrace(trace, abi)
