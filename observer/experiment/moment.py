# SPDX-License-Identifier: Apache-2.0
"""The moment at which a service obeyed a fault, by the kernel's own trace.

A service says so with a hypercall of its own before it breaks; KVM's tracepoint
`kvm:kvm_hypercall` (arch/x86/kvm/trace.h) gives it the host's monotonic time.  Neither
our BPF programs nor the way that the order took has a part in it.
"""

from __future__ import annotations

import os
import re
import select
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import HostError
from observer.services.abi import Abi

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TRACING", "FaultTrace", "fault_trace", "moments_in"]

TRACING = Path("/sys/kernel/tracing")
INSTANCE = "observer-faults"
US = 1000
EVENT = "events/kvm/kvm_hypercall"
READ_BYTES = 1 << 16
# Documentation/trace/ftrace.rst: seconds with six digits, then the event's own words.
_SAID = re.compile(
    r"\s(\d+)\.(\d{6}): kvm_hypercall: nr 0x([0-9a-f]+) a0 0x([0-9a-f]+)\b"
)


def moments_in(text: str, number: int) -> list[tuple[int, int]]:
    """Which service obeyed a fault and when in ns, of whole lines of a trace."""
    return [
        (int(service, 16), (int(seconds) * 1_000_000 + int(micros)) * US)
        for seconds, micros, nr, service in _SAID.findall(text)
        if int(nr, 16) == number
    ]


class FaultTrace:
    """A trace pipe that does not block, read for the faults that were obeyed."""

    def __init__(self, fd: int, abi: Abi) -> None:
        self._fd, self._abi, self._text = fd, abi, ""

    def fileno(self) -> int:
        """To wait on: readable when something was traced."""
        return self._fd

    def take(self, service: str, since_ns: int) -> int | None:
        """When the service obeyed one after a moment; None: it has not yet."""
        number = self._abi["HYPERCALL_FAULT"]
        while select.select([self._fd], [], [], 0)[0]:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._text += data.decode(errors="replace")
        whole, _, self._text = self._text.rpartition("\n")
        return min(
            (
                ns
                for who, ns in moments_in(f"{whole}\n", number)
                if self._abi.service_name(who) == service and ns >= since_ns - US
            ),
            default=None,
        )


@contextmanager
def fault_trace(root: Path = TRACING) -> Iterator[FaultTrace]:
    """Trace the faults that services obey while the block runs; needs root and KVM."""
    instance = root / "instances" / INSTANCE
    abi = Abi.of_header()
    try:
        instance.mkdir(exist_ok=True)
    except OSError as e:
        raise HostError(
            f"{instance} cannot be made ({e.strerror}), so no fault has a moment: run "
            f"as root, and mount tracefs (mount -t tracefs tracefs {root})."
        ) from e
    try:
        event = instance / EVENT
        (instance / "trace_clock").write_text("mono")
        (event / "filter").write_text(f"nr == {abi['HYPERCALL_FAULT']:#x}")
        (event / "enable").write_text("1")
        fd = os.open(instance / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield FaultTrace(fd, abi)
        finally:
            os.close(fd)
    finally:
        instance.rmdir()
