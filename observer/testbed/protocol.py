# SPDX-License-Identifier: Apache-2.0
"""What this machine and a nested host say to each other over virtio-serial ports.

Three ports: two carry the command's output as raw bytes, the control port carries
one JSON object a line. The nested side runs on a bare interpreter, hence nothing
but the standard library here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = [
    "CONTROL",
    "MONITOR",
    "PORTS",
    "STDERR",
    "STDOUT",
    "Alive",
    "Ended",
    "Failed",
    "Job",
    "Lines",
    "Message",
    "Ready",
    "Signal",
    "decode",
    "encode",
]

CONTROL = "observer.control"
STDOUT = "observer.stdout"
STDERR = "observer.stderr"
PORTS = (CONTROL, STDOUT, STDERR)
MONITOR = "monitor"
"""QMP, spoken by QEMU itself; the nested host does not see it."""


@dataclass(frozen=True)
class Ready:
    """Nested host: it is up and waits for its job."""

    release: str


@dataclass(frozen=True)
class Job:
    """This machine: what to run, where, and with which modules loaded before."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    modules: tuple[str, ...]
    cpus: tuple[int, ...] = ()
    """On which it, and all that it starts, stays; on any if none is named."""

    def __post_init__(self) -> None:
        # JSON knows lists only.
        for name in ("argv", "modules", "cpus"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class Signal:
    """This machine: send this signal to the command."""

    number: int


@dataclass(frozen=True)
class Alive:
    """Nested host: its kernel still runs programs."""


@dataclass(frozen=True)
class Ended:
    """Nested host: the command ended; negative is the signal that ended it.

    The ports are independent queues, so the byte counts say when all output is here.
    """

    status: int
    stdout_bytes: int
    stderr_bytes: int


@dataclass(frozen=True)
class Failed:
    """Nested host: the command could not even be tried."""

    sentence: str


Message = Ready | Job | Signal | Alive | Ended | Failed

_KINDS: dict[str, type[Message]] = {
    "ready": Ready,
    "job": Job,
    "signal": Signal,
    "alive": Alive,
    "ended": Ended,
    "failed": Failed,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(message: Message) -> bytes:
    """One line; names that are no UTF-8 survive as escaped surrogates."""
    return json.dumps([_NAMES[type(message)], asdict(message)]).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message in one line; ValueError if it is none."""
    try:
        name, fields = json.loads(line)
        return _KINDS[name](**fields)
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a message: {line!r}") from error


class Lines:
    """Cuts a byte stream into complete lines, whatever the reads were."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that this read completed, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines
