# SPDX-License-Identifier: Apache-2.0
"""What an experiment leaves: a head, then a row for each run, as JSON lines.

A row is written when its run ends, so that one who is interrupted loses none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.demo.report import HostFacts
from observer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Head", "Row", "RowFile", "read_files", "read_rows"]


class Head(msgspec.Struct, frozen=True, tag_field="line", tag="head"):
    """Where and how it ran; the load average of the host when it began."""

    experiment: str
    host: HostFacts
    rounds: int
    period_ms: float
    designs: dict[str, str]
    """Each with what it does."""
    load_average: float


class Row(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="row"):
    """One fault under one design; None where a thing does not apply.

    `detection_ms`, `recovery_ms` and `paid_ms` count from the moment before the fault
    was ordered; recovery ends when the receiver saw its stream go on.
    """

    experiment: str
    round: int
    design: str
    fault: str
    subject: str
    verdict: str | None
    detected: bool
    detection_ms: float | None
    repaired: bool
    recovery_ms: float | None
    paid_ms: float | None
    lost_packets: int | None
    sent_packets: int | None
    duplicated_packets: int | None
    reordered_packets: int | None
    salvaged: int | None
    longest_gap_ms: float | None
    tcp_survived: bool | None
    io_errors: int | None
    verify_errors: int | None
    two_writers: int | None
    evidence: str


class RowFile:
    """Appends to a file that begins with its head."""

    def __init__(self, path: Path, head: Head) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        path.write_bytes(msgspec.json.encode(head) + b"\n")

    def append(self, row: Row) -> None:
        """Write it, whole, at once."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")


def read_rows(path: Path) -> tuple[Head, list[Row]]:
    """Head and rows of a file; a last line that was cut short is left out."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as e:
        raise UsageError(f"{path} cannot be read ({e.strerror}).") from e
    try:
        whole = [line for line in lines if line.endswith(b"\n")]
        head = msgspec.json.decode(whole[0], type=Head)
        return head, [msgspec.json.decode(line, type=Row) for line in whole[1:]]
    except (IndexError, msgspec.DecodeError) as e:
        raise UsageError(
            f"{path} is no file of `observer experiment run` ({e}): name another."
        ) from e


def read_files(paths: Sequence[Path]) -> tuple[list[Head], list[Row]]:
    """Heads and rows of one experiment that was run in several sittings."""
    read = [read_rows(path) for path in paths]
    heads = [head for head, _ in read]
    for path, head in zip(paths, heads, strict=True):
        if head.experiment != heads[0].experiment:
            raise UsageError(
                f"{path} is of {head.experiment}, {paths[0]} of {heads[0].experiment}: "
                "sum up one experiment at a time."
            )
    return heads, [row for _, rows in read for row in rows]
