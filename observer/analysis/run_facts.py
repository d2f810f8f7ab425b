# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: `run.json` of its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.analysis.tables import FORMAT, other_version
from observer.demo.report import HostFacts
from observer.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RUN_FILE", "RunFacts", "read_facts"]

RUN_FILE = "run.json"


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One boot with one design, taken through all its faults and one workload."""

    format: int = FORMAT
    experiment: str
    run: int
    design: str
    does: str
    workload: str
    seed: int
    started: str
    """RFC 3339."""
    seconds: float
    commit: str
    host: HostFacts
    vms: int


class _Version(msgspec.Struct):
    """All that is asked of a file before it is known whose it is."""

    format: int


def read_facts(path: Path) -> RunFacts:
    """UsageError for what is no such file, or one of another version."""
    try:
        text = path.read_bytes()
        if (found := msgspec.json.decode(text, type=_Version).format) != FORMAT:
            raise other_version(path.parent, found)
        return msgspec.json.decode(text, type=RunFacts)
    except OSError as e:
        raise UsageError(f"{path} cannot be read ({e.strerror}).") from e
    except msgspec.DecodeError as e:
        raise UsageError(
            f"{path} is no {RUN_FILE} of `observer experiment run` ({e}): take its "
            "folder away and run it again."
        ) from e
