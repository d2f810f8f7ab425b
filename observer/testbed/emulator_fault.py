# SPDX-License-Identifier: Apache-2.0
"""Tells when it was the emulator that failed, by what no real CPU does.

QEMU's emulation of AMD's virtualisation loses changes to the flags of its first CPU, so
that this now and then takes or keeps an interrupt where it must not.  Guests keep off
that CPU (`Machine.free_cpus`); where one does not, with 7.2 to 11.0, on Linux 6.1 and
6.12, without any program of ours:

- one is taken right behind VMRUN, where the global interrupt flag (GIF) is clear until
  the host's STGI, on the guest's GS base: the handler faults on its first access to
  per-CPU data, that fault on its own, until the stack of the vCPU's thread is full;
- or a CPU halts with interrupts enabled and one pending, and never wakes;
- or a CPU stays in a guest that spins with its own interrupts off, and takes none of
  the host's, not even the tick, until an NMI fetches it out 20 s later;
- or a guest resets in the first milliseconds of its kernel (twice in some 40 boots
  beside a busy guest): test guests then boot again, as any machine would.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from qemu.qmp import QMPClient, QMPError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

__all__ = ["fault_in_console", "sleeping_cpus", "why_silent"]

MONITOR_SECONDS = 20.0
LOOKS_APART_SECONDS = 1.0
INTERRUPTS_ENABLED = 0x200

_BEHIND_VMRUN = re.compile(
    r"asm_(?:sysvec|common_interrupt)\w*\+.*\n"
    r".*\bRIP: \d+:__svm_vcpu_run\+"
)
_OVERFLOW = re.compile(
    r"Kernel panic - not syncing: corrupted stack end detected inside scheduler.*\n"
    r".*\bComm: (?:qemu-system-x86|CPU \d+/KVM)\b"
)
# The NMI that asks a stalled CPU comes as it leaves its guest, at the STGI.
_DEAF_IN_GUEST = re.compile(
    r"rcu: \s*(\d+)-\S*: \(0 ticks this GP\)(?s:.*?)"
    r"NMI backtrace for cpu \1\n(?:(?!NMI backtrace)(?s:.))*?"
    r"\bRIP: \d+:svm_vcpu_(?:run|enter_exit)\+"
)
_CPU = re.compile(r"^CPU#(\d+)\s(.*?)(?=^CPU#|\Z)", re.MULTILINE | re.DOTALL)


def fault_in_console(console: str) -> str | None:
    """What the kernel's last words say of the emulator; None where they do not."""
    if _BEHIND_VMRUN.search(console):
        return "it delivered an interrupt behind VMRUN, while GIF was clear"
    if _OVERFLOW.search(console):
        return (
            "the stack of a vCPU's thread overflowed, as by an interrupt behind VMRUN"
        )
    if _DEAF_IN_GUEST.search(console):
        return "a CPU in a guest took no interrupt of the host's, not even its tick"
    return None


def _has_pending(lapic: str) -> bool:
    """Whether an interrupt waits that is above the CPU's priority class."""
    waiting = re.search(r"^IRR\s+(.*)$", lapic, re.MULTILINE)
    priority = re.search(r"\bPPR 0x([0-9a-f]+)", lapic)
    vectors = [int(v) for v in re.findall(r"\d+", waiting[1])] if waiting else []
    return bool(vectors and priority and max(vectors) >> 4 > int(priority[1], 16) >> 4)


def sleeping_cpus(registers: str, lapics: dict[int, str]) -> set[int]:
    """CPUs that halt though an interrupt is pending and enabled.

    `registers` is what QEMU says to `info registers -a`, `lapics` to `info lapic`.
    """
    found = set()
    for number, text in _CPU.findall(registers):
        flags = re.search(r"\b[ER]FL=([0-9a-f]+)", text)
        enabled = flags and int(flags[1], 16) & INTERRUPTS_ENABLED
        if enabled and "HLT=1" in text and _has_pending(lapics.get(int(number), "")):
            found.add(int(number))
    return found


async def _monitor(client: QMPClient, words: str) -> str:
    line: dict[str, Any] = {"command-line": words}
    return str(await client.execute("human-monitor-command", line))


async def _read_cpus(client: QMPClient) -> tuple[str, dict[int, str]]:
    """What QEMU says of its CPUs' registers and of the interrupts of each."""
    registers = await _monitor(client, "info registers -a")
    numbers = [int(number) for number, _ in _CPU.findall(registers)]
    return registers, {n: await _monitor(client, f"info lapic {n}") for n in numbers}


async def _look_twice(monitor: socket.socket) -> list[tuple[str, dict[int, str]]]:
    client = QMPClient("testbed")
    await client.connect(monitor)
    try:
        first = await _read_cpus(client)
        await asyncio.sleep(LOOKS_APART_SECONDS)
        return [first, await _read_cpus(client)]
    finally:
        await client.disconnect()


def why_silent(monitor: socket.socket, log: Path) -> str | None:
    """Ask QEMU over its QMP socket why nothing moves; None if it is not its fault.

    What it says of its CPUs is kept in `log`: signs that are not known yet are in it.
    """
    try:
        looks = asyncio.run(asyncio.wait_for(_look_twice(monitor), MONITOR_SECONDS))
    except (TimeoutError, QMPError, OSError):
        return None
    log.write_text("\n".join(t for r, lapics in looks for t in (r, *lapics.values())))
    stuck = set.intersection(*(sleeping_cpus(*look) for look in looks))
    if not stuck:
        return None
    cpus = " and ".join(str(n) for n in sorted(stuck))
    return f"its CPU {cpus} sleeps though an interrupt is pending and enabled"
