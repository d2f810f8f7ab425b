# SPDX-License-Identifier: Apache-2.0
"""One run beside a service VM: `net` forwards numbered datagrams, and is broken.

Nobody repairs it: each fault is left until all that the design says of it was heard,
and the next one finds a service that was started anew.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from observer.clock import MS
from observer.demo.cases import FaultCase
from observer.experiment.detection import Case, judged, silent_case
from observer.experiment.ear import SILENT_SECONDS
from observer.experiment.faults import FAULTS, break_services, service_pid
from observer.experiment.moment import fault_trace
from observer.experiment.scene import service
from observer.guests.traffic import Flow, host
from observer.inject.hogs import hog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from observer.experiment.cost import Cost
    from observer.experiment.ear import Ear
    from observer.experiment.faults import Fault
    from observer.experiment.moment import FaultTrace

__all__ = ["ServiceCourse", "ServiceRun", "service_run"]

SERVICE = "net"
ENDS = (
    ("study-in", "obs-guests", "10.77.0.1"),
    ("study-out", "obs-uplink", "10.77.0.2"),
)
FLOWS = 50
"""So many datagrams have arrived before a fault."""
HOGS = 3


class ServiceCourse(msgspec.Struct, frozen=True):
    """What a run is taken through, and how long it looks on."""

    faults: tuple[str, ...]
    silent: tuple[str, ...] = ("idle", "busy", "host-overload")
    calm_s: float = 20.0


class ServiceRun:
    """A design's run beside `net`."""

    def __init__(self, ear: Ear, trace: FaultTrace) -> None:
        self._ear, self._trace = ear, trace
        self._is_up = False
        self._ends: tuple[socket.socket, ...] = ()
        self._stack = ExitStack()
        self.costs: list[Cost] = []

    def close(self) -> None:
        """Take all away."""
        self._ear.ends(SERVICE)
        self._stack.close()
        if self._is_up:
            service("down", SERVICE)
            self._is_up = False

    def _start(self) -> Case:
        """The next life of the service, on fresh memory; nothing may be said of it."""
        began_ns, told = time.monotonic_ns(), self._ear.count(f"vm: {SERVICE} ")
        self._ear.tell(f"{SERVICE}: starts")
        self.close()
        self._is_up = True
        service("up", SERVICE)
        self._stack = ExitStack()
        self._ends = tuple(self._stack.enter_context(host(*end)) for end in ENDS)
        self._ear.wait_until_watched(SERVICE, told)
        return self._silently("boot", began_ns)

    def _silently(self, case: str, began_ns: int) -> Case:
        waited_ms = (time.monotonic_ns() - began_ns) / MS
        said = self._ear.since(began_ns)
        return silent_case(case, SERVICE, began_ns, said, waited_ms)

    @contextmanager
    def _flows(self) -> Iterator[None]:
        """Datagrams go both ways."""
        inside, outside = self._ends
        with Flow(inside, outside) as out, Flow(outside, inside) as back:
            out.wait_for(FLOWS)
            back.wait_for(FLOWS)
            yield

    def _silent(self, name: str) -> Case:
        self._ear.tell(f"{SERVICE}: {name}")
        began_ns = time.monotonic_ns()
        with ExitStack() as stack:
            if name != "idle":
                stack.enter_context(self._flows())
            if name == "host-overload":
                for _ in range(HOGS):
                    stack.enter_context(hog())
            self._ear.hear_out(SILENT_SECONDS)
        return self._silently(name, began_ns)

    def _fault(self, fault: Fault) -> Case:
        self._ear.tell(f"{SERVICE}: {fault.name}")
        with self._flows():
            self._ear.wait_for_phase()
            effect_ns = break_services(fault, self._trace)
            said = self._ear.listen_to_all(fault.name, effect_ns)
            waited_ms = (time.monotonic_ns() - effect_ns) / MS
        case = FaultCase(
            fault.name, SERVICE, fault.kind, "*", self._ear.design.patience_s
        )
        ours = self._ear.design.daemon is not None
        return judged(case, SERVICE, effect_ns, said, is_ours=ours, waited_ms=waited_ms)

    def _look_on(self, phase: str, seconds: float, bpf_ns: Callable[[], int]) -> Case:
        began_ns = time.monotonic_ns()
        who = {service_pid(SERVICE): ("vmm", SERVICE)}
        self.costs += self._ear.costs(phase, seconds, who, bpf_ns)
        return self._silently(phase, began_ns)

    def rows(self, course: ServiceCourse, bpf_ns: Callable[[], int]) -> Iterator[Case]:
        """Every case, in an order of chance."""
        yield self._start()
        yield self._look_on("idle", course.calm_s, bpf_ns)
        with self._flows():
            yield self._look_on("load", course.calm_s, bpf_ns)
        for name in course.silent:
            yield self._silent(name)
        faults = list(course.faults) if self._ear.voice else []
        self._ear.chance.shuffle(faults)
        for name in faults:
            yield self._start()
            yield self._fault(FAULTS["net-failure"][name])


@contextmanager
def service_run(ear: Ear) -> Iterator[ServiceRun]:
    """Nothing is left of it after the block."""
    with fault_trace() as trace:
        run = ServiceRun(ear, trace)
        try:
            yield run
        finally:
            run.close()
