# SPDX-License-Identifier: Apache-2.0
"""Builds the small C programs of the experiments: those of `load/`."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

from observer.errors import HostError, ProgramError

__all__ = ["built"]

SOURCES = Path(str(files("observer.experiment"))) / "load"
COMPILE = ("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
BUILD_SECONDS = 120.0


def built(name: str, folder: Path) -> Path:
    """Build a program, unless it is there and newer than its source."""
    source, made = SOURCES / f"{name}.c", folder / name
    if made.exists() and made.stat().st_mtime > source.stat().st_mtime:
        return made
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [*COMPILE, str(source), "-o", str(made)],
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
    except FileNotFoundError as e:
        raise HostError("gcc is missing: apt install gcc libc6-dev.") from e
    except subprocess.CalledProcessError as e:
        raise ProgramError(
            f"gcc could not build the guest's {name}: {e.stderr.strip()[-300:]}"
        ) from e
    return made
