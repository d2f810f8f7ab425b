# SPDX-License-Identifier: Apache-2.0
"""Finds the kernel's complaints about itself in a console log.

A test that passes over a broken kernel proves nothing, so a nested run with a splat
has failed. What a slow or busy machine makes a healthy kernel say (clock sources,
long timer interrupts) is not a splat; a stall or lockup is.
"""

from __future__ import annotations

import re

__all__ = ["find_splats", "first_splat"]

REPORT_LINES = 40

_STAMP = r"(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?"

# They begin their line, after the time; program names and init's messages do not.
# Sources: the kernel's lib/bug.c, kernel/panic.c, arch/x86/kernel/traps.c and
# dumpstack.c, kernel/locking/lockdep.c, kernel/watchdog.c, kernel/hung_task.c,
# kernel/rcu/tree_stall.h, mm/kasan/report.c, lib/ubsan.c, lib/refcount.c.
_SPLATS = (
    r"BUG: ",
    r"kernel BUG at ",
    r"WARNING: ",
    r"------------\[ cut here \]------------",
    r"Oops[: ]",
    r"Kernel panic",
    r"general protection fault",
    r"double fault",
    r"stack segment",
    r"invalid opcode",
    r"divide error",
    r"int3: ",
    r"unable to handle ",
    r"Unable to handle ",
    r"KASAN: ",
    r"KFENCE: ",
    r"UBSAN: ",
    r"refcount_t: ",
    r"(?:list_add|list_del) corruption",
    r"Bad page (?:state|map)",
    r"INFO: task .* blocked for more than ",
    r"INFO: possible recursive locking",
    r"INFO: inconsistent lock state",
    r"INFO: trying to register non-static key",
    r"INFO: rcu_\w+ (?:self-)?detected",
    r"(?:NMI )?watchdog: (?:BUG|Watchdog detected hard LOCKUP)",
    r"rcu: INFO: \w+ (?:self-)?detected",
    r"rcu: .*kthread starved for ",
    r"\*\*\* DEADLOCK \*\*\*",
)
_SPLAT = re.compile(rf"^{_STAMP}(?:{'|'.join(_SPLATS)})")


def find_splats(console: str) -> list[str]:
    """The lines in which the kernel complains, in their order."""
    return [line for line in console.splitlines() if _SPLAT.match(line)]


def first_splat(console: str) -> str:
    """The first complaint and what follows it: registers and the call trace."""
    lines = console.splitlines()
    start = next((k for k, line in enumerate(lines) if _SPLAT.match(line)), len(lines))
    return "\n".join(lines[start : start + REPORT_LINES])
