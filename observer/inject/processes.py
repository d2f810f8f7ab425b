# SPDX-License-Identifier: Apache-2.0
"""Faults of the processes round a guest: killed or stopped, always by pidfd."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from contextlib import ExitStack

    from observer.guests.guest import Guest

__all__ = ["crash_backend", "crash_vmm", "hang_backend", "stop_vmm"]

FLOW_SECONDS = 20.0
FLOW_BYTES = 1 << 20  # so that the next request is never far


def _kill(guest: Guest, pid: int) -> int:
    with guest.pidfd(pid) as held:
        effect_ns = time.monotonic_ns()
        signal.pidfd_send_signal(held, signal.SIGKILL)
    return effect_ns


def _stop(guest: Guest, pid: int, stack: ExitStack) -> int:
    """Stop a process; a pidfd kept open lets only this very one go on again."""
    held = stack.enter_context(guest.pidfd(pid))
    stack.callback(_continue, held)
    effect_ns = time.monotonic_ns()
    signal.pidfd_send_signal(held, signal.SIGSTOP)
    return effect_ns


def _continue(held: int) -> None:
    try:
        signal.pidfd_send_signal(held, signal.SIGCONT)
    except ProcessLookupError:
        return  # a repair has ended it, so there is nothing left to continue


def crash_vmm(guest: Guest, _stack: ExitStack) -> int:
    """Kill QEMU."""
    return _kill(guest, guest.pid)


def stop_vmm(guest: Guest, stack: ExitStack) -> int:
    """Stop QEMU with all its vCPUs."""
    return _stop(guest, guest.pid, stack)


def crash_backend(guest: Guest, _stack: ExitStack) -> int:
    """Kill the disk's back end."""
    return _kill(guest, guest.disk_pid)


def _bytes_read(pid: int) -> int:
    fields = Path(f"/proc/{pid}/io").read_text().split()
    return int(fields[fields.index("rchar:") + 1])


def hang_backend(guest: Guest, stack: ExitStack) -> int:
    """Stop the disk's back end while the guest has I/O in flight."""
    pid = guest.disk_pid
    guest.order("busy disk")
    stack.callback(guest.order, "idle")
    flowing = _bytes_read(pid) + FLOW_BYTES
    wait_until(
        lambda: _bytes_read(pid) > flowing,
        FLOW_SECONDS,
        f"{guest.name}'s disk was read",
    )
    return _stop(guest, pid, stack)
