# SPDX-License-Identifier: Apache-2.0
"""What is compared: a tool that observes exits, and how one knows that it does."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["Arm", "NoTool", "Tool", "no_tool", "perf_event_count"]


class Tool(Protocol):
    """A tool that runs."""

    def wait_until_sees(self, vm: str) -> None:
        """Return once it is armed and, if it looks at VMs singly, knows this one."""
        ...

    def count(self) -> int | None:
        """How many exits it saw since it was armed; None where it cannot tell."""
        ...


@dataclass(frozen=True)
class Arm:
    """One design to compare; `left_out` says why it cannot run here."""

    name: str
    does: str
    start: Callable[[Path], AbstractContextManager[Tool]]
    left_out: str | None = None


class NoTool:
    """What the others are compared with."""

    def wait_until_sees(self, vm: str) -> None:
        """Nobody looks."""

    def count(self) -> None:
        """Nobody counts."""


@contextmanager
def no_tool(_folder: Path) -> Iterator[Tool]:
    """Run nothing."""
    yield NoTool()


def perf_event_count(pid: int, proc: Path = Path("/proc")) -> int:
    """How many perf events a process holds open, a tracepoint's programs included."""
    held = 0
    for link in (proc / str(pid) / "fd").iterdir():
        try:
            held += "perf_event" in os.readlink(link)  # noqa: PTH115 - not a path
        except FileNotFoundError:
            continue
    return held
