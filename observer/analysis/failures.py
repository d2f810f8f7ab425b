# SPDX-License-Identifier: Apache-2.0
"""Runs that failed: `failed.jsonl` beside the folders of an experiment's runs.

One that fails leaves no folder and is run again; that it failed must not be lost, for
it may be its design that made it fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.analysis.tables import unwritable
from observer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FAILED_FILE", "Failure", "keep_failure", "read_failures"]

FAILED_FILE = "failed.jsonl"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One run that did not end as it should."""

    experiment: str
    run: int
    design: str
    ended: str
    """RFC 3339."""
    commit: str
    said: str

    @property
    def sentence(self) -> str:
        """For those who read the results."""
        return (
            f"{self.experiment}: an attempt at run {self.run} of {self.design} failed "
            f"at {self.ended} and counts for nothing: {self.said}"
        )


def keep_failure(root: Path, failure: Failure) -> None:
    """Add it to its experiment's; HostError where that cannot be written."""
    path = root / failure.experiment / FAILED_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(failure) + b"\n")
    except OSError as e:
        raise unwritable(path, e) from e


def read_failures(roots: Sequence[Path]) -> list[Failure]:
    """All of them, each once; UsageError for a file that is none of these."""
    found: list[Failure] = []
    for path in sorted(p for root in roots for p in root.glob(f"*/{FAILED_FILE}")):
        try:
            found += [
                msgspec.json.decode(line, type=Failure)
                for line in path.read_bytes().splitlines()
            ]
        except (OSError, msgspec.DecodeError) as e:
            raise UsageError(
                f"{path} is no file of failed runs ({e}): take it out of the folder."
            ) from e
    return list(dict.fromkeys(found))
