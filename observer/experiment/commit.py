# SPDX-License-Identifier: Apache-2.0
"""Which commit of the project is measured."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["measured_commit"]

GIT_SECONDS = 30.0


def measured_commit(checkout: Path, results: Path) -> str:
    """Its abbreviated name; `+` where files have changes that are in no commit.

    What lies in `results` is not measured: a run that is made anew changes nothing.
    "unknown" where git cannot say.
    """
    changed = ["status", "--porcelain", "--untracked-files=no", "--", "."]
    if results.is_relative_to(checkout):
        changed.append(f":(exclude){results.relative_to(checkout)}")
    try:
        name = _git(checkout, "describe", "--always", "--abbrev=12")
        return f"{name}+" if _git(checkout, *changed) else name
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(checkout: Path, *words: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(checkout), *words),
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS,
    )
    return done.stdout.strip()
