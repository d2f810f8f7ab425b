# SPDX-License-Identifier: Apache-2.0
"""A keeper that is killed before a certain step of its first restart, or never.

usage: keeper_that_dies.py STEP STEPS RUNTIME IMAGES NAME

A step is a line of observer/services, as in keeper.py:7; the file STEPS gets each once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from observer.services import keeper
from observer.services.kept_vm import KeptVm

SERVICES = str(Path(keeper.__file__).parent)


class Steps:
    """Counts them, and ends all at the one that is wanted."""

    def __init__(self, last: str, said: Path) -> None:
        self._last, self._said = last, said
        self._seen: set[str] = set()

    def __call__(self, frame: Any, _event: str, _: Any) -> Any:
        code = frame.f_code
        at = f"{Path(code.co_filename).name}:{frame.f_lineno}"
        if code.co_filename.startswith(SERVICES) and at not in self._seen:
            self._seen.add(at)
            with self._said.open("a") as said:
                said.write(f"{at} {code.co_name}\n")
            if at == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
        return self

    def begin(self) -> None:
        """Also of who waits for what is called from now on; before, all is slower."""
        frame = sys._getframe(1)  # noqa: SLF001 - as debuggers do
        while frame is not None:
            frame.f_trace = self
            frame = frame.f_back
        sys.settrace(self)


def main(last: str, said: str, *words: str) -> int:
    """Keep a service until that step."""
    steps, restart = Steps(last, Path(said)), KeptVm.restart

    def counted(vm: KeptVm) -> None:
        steps.begin()
        restart(vm)

    KeptVm.restart = counted
    return keeper.main(*words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
