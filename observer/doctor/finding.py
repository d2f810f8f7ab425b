# SPDX-License-Identifier: Apache-2.0
"""What one check found."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "State", "missing", "ok", "warn"]

State = Literal["ok", "warn", "missing"]
"""`warn` works, but less well or only for some VMs."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the observer needs or can use, and how it stands with it."""

    name: str
    state: State
    detail: str
    next_step: str = ""
    """What to do about it; empty when all is well."""
    packages: tuple[str, ...] = ()
    """Debian packages that bring what is missing."""


def ok(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name=name, state="ok", detail=detail)


def warn(name: str, detail: str, next_step: str, *packages: str) -> Finding:
    """It works, but not for everything."""
    return Finding(
        name=name, state="warn", detail=detail, next_step=next_step, packages=packages
    )


def missing(name: str, detail: str, next_step: str, *packages: str) -> Finding:
    """It does not work."""
    return Finding(
        name=name,
        state="missing",
        detail=detail,
        next_step=next_step,
        packages=packages,
    )
