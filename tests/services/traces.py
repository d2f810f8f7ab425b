# SPDX-License-Identifier: Apache-2.0
"""What a host has of a service and its observer, as others see it."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyroute2 import IPRoute

from observer.services.folder import RUNTIME

if TYPE_CHECKING:
    from broken_service import Service

PLACES = (RUNTIME, Path("/run/observer"), Path("/sys/fs/bpf/observer"))
OURS = re.compile(r"qemu|observer|setpriv|vhost-")
NUMBERS = re.compile(r"\d+")


class Lives(threading.Thread):
    """Which lives of a service there were, as its keeper writes them down."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service, self._over = service, threading.Event()
        self.pids = [service.pid()]

    def run(self) -> None:
        while not self._over.wait(0.02):
            pid = self._service.record().pid
            if pid is not None and pid != self.pids[-1]:
                self.pids.append(pid)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _descriptors(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.append(NUMBERS.sub("", str(link.readlink())))
    return sorted(found)


def _ours(process: Path) -> str | None:
    """What a process is, if it is one of ours, a zombie too."""
    try:
        comm = (process / "comm").read_text().strip()
        argv = (process / "cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return NUMBERS.sub("", comm) if OURS.search(f"{comm} {argv}") else None


def traces(service: Service, folder: Path) -> dict[str, list[Any]]:
    """All that a host has of this service and its observer."""
    with IPRoute() as ip:
        devices = {k["index"]: k.get_attr("IFLA_IFNAME") for k in ip.get_links()}
        queues = [
            (devices.get(q["index"]), q.get_attr("TCA_KIND")) for q in ip.get_qdiscs()
        ]
    record = service.record()
    assert record.pid is not None
    return {
        "devices": sorted(devices.values()),
        "queues": sorted(queues),
        "processes": sorted(filter(None, map(_ours, Path("/proc").glob("[0-9]*")))),
        "keeper's": _descriptors(record.keeper),
        "VM's": _descriptors(record.pid),
        "files": sorted(
            str(path)
            for place in (*PLACES, folder / "state")
            for path in place.rglob("*")
        ),
    }


def parked_bytes(service: Service) -> int:
    """What waits before the taps, as the kernel says it."""
    found = 0
    with IPRoute() as ip:
        for port in service.record().spec.ports:
            (index,) = ip.link_lookup(ifname=port.tap)
            for queue in ip.get_qdiscs(index=index):
                found += queue.get_attr("TCA_STATS2").get_attr("TCA_STATS_QUEUE")[
                    "backlog"
                ]
    return found


def changed(
    before: dict[str, list[Any]], after: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """What is not as before.

    Of a VM's descriptors only what there is more: a connection may have been closing.
    """
    return {
        kind: found
        for kind, found in after.items()
        if (
            Counter(found) - Counter(before[kind])
            if kind == "VM's"
            else found != before[kind]
        )
    }


class Journal:
    """What the observers wrote, read by SQLite itself."""

    def __init__(self, folder: Path) -> None:
        self._file = f"file:{folder / 'state/journal.db'}?mode=ro"

    def read(self, words: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._file, uri=True)) as file:
            return file.execute(words).fetchall()

    def count(self, words: str) -> int:
        ((found,),) = self.read(words)
        return int(found)
