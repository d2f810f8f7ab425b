# SPDX-License-Identifier: Apache-2.0
"""What a keeper leaves word of: quick to import, for those who only ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observer.services.folder import replace_text
from observer.services.images import ServiceSpec

if TYPE_CHECKING:
    from observer.services.folder import ServiceFolder

__all__ = ["READY", "SPARE", "Record", "read_record", "write_record"]

READY = "up"  # what a keeper says once
SPARE = "spare"  # as a part of its service


class Record(msgspec.Struct, frozen=True):
    """What other processes need to know of a service; `pid` is None while it boots."""

    name: str
    pid: int | None
    keeper: int
    user: int
    spec: ServiceSpec
    spare: int | None = None


def write_record(folder: ServiceFolder, record: Record) -> None:
    """Leave word of it, whole at any moment."""
    replace_text(folder.record, msgspec.json.encode(record).decode())


def read_record(folder: ServiceFolder) -> Record | None:
    """What a keeper left word of; None if there is none."""
    try:
        return msgspec.json.decode(folder.record.read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
