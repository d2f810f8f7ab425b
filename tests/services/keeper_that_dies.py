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

SERVICES = str(Path(keeper.__file__).parent)


class Steps:
    """Counts them, and ends all at the one that is wanted."""

    def __init__(self, last: str, said: Path) -> None:
        self._last, self._said = last, said
        self._seen: set[str] = set()

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        code = frame.f_code
        at = f"{Path(code.co_filename).name}:{frame.f_lineno}"
        if not code.co_filename.startswith(SERVICES):
            return self
        if not self._seen and (event, code.co_name) != ("call", "restart"):
            return self
        if at not in self._seen:
            self._seen.add(at)
            with self._said.open("a") as said:
                said.write(f"{at} {code.co_name}\n")
            if at == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


if __name__ == "__main__":
    sys.settrace(Steps(sys.argv[1], Path(sys.argv[2])))
    sys.exit(keeper.main(*sys.argv[3:]))
