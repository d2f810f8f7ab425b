# SPDX-License-Identifier: Apache-2.0
"""Which kernel modules a guest must load, and in which order.

The order is read from modules.dep, depmod's own list: no module's needs stand here.
"""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["dependencies", "load_order", "module_bytes", "read_dependencies"]


def dependencies(modules_dep: str) -> dict[str, tuple[str, ...]]:
    """Return for each module's path the paths it needs, as modules.dep lists them."""
    rows = (line.partition(":") for line in modules_dep.splitlines() if ":" in line)
    # depmod -n goes on with aliases and symbols, whose lines do not start with a path.
    return {path: tuple(needs.split()) for path, _, needs in rows if ".ko" in path}


def _name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def load_order(needs: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> list[str]:
    """Return the paths to insert, each after all it needs, without repeats."""
    by_name = {_name(path): path for path in needs}
    order: dict[str, None] = {}

    def visit(path: str) -> None:
        for need in needs[path]:
            visit(need)
        order.setdefault(path)

    for name in names:
        if name not in by_name:
            raise HostError(
                f"The guest's kernel has no module {name}; take another one."
            )
        visit(by_name[name])
    return list(order)


def read_dependencies(root: Path, version: str) -> dict[str, tuple[str, ...]]:
    """Read modules.dep; a kernel only unpacked, not installed, has none yet."""
    written = root / "lib/modules" / version / "modules.dep"
    if written.exists():
        return dependencies(written.read_text())
    shown = subprocess.run(
        ["depmod", "-n", "-b", str(root), version],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return dependencies(shown.stdout)


def module_bytes(path: Path) -> bytes:
    """Return a module as insmod takes it: newer kernels keep theirs compressed."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
