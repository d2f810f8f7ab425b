# SPDX-License-Identifier: Apache-2.0
"""Whether a recorded command line can be given again: pure, and never a guess.

A process that was handed something, that somebody else starts, or that is not what it
would be at its start, is not started by us.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from observer.inventory.command_line import CommandLine

__all__ = ["owner_of", "shared_sockets", "why_no_reconnect", "why_not_again"]

_VMMS = re.compile(r"qemu-system-\w+|qemu-kvm|kvm")
_BACK_ENDS = re.compile(r"qemu-storage-daemon")
_HANDED = re.compile(
    r"(^|[,{\"])[a-z_-]*fds?\"?[=:]|/dev/fd/|/proc/self/fd/|/dev/fdset/"
)
_ONCE = {
    "-add-fd": "it was handed descriptors (-add-fd), which are gone with it",
    "-incoming": "it was started to be migrated to (-incoming)",
    "-S": "it was started stopped (-S), for somebody who let it go on",
    "-loadvm": "-loadvm would take its disks back to a snapshot",
    "-runas": "it was started as another user (-runas)",
    "-chroot": "it has changed its root since (-chroot)",
}
_TERMINAL = re.compile(r"(^|[,:=])stdio\b|^-{1,2}(nographic|curses)$")
_UNIT = re.compile(r"(?!user@\d+\.service$).+\.service")
_CONTAINER = re.compile(r"docker|libpod|kubepods|containerd|lxc")


def owner_of(cgroup: str) -> str | None:
    """Who looks after the processes of a cgroup; None: nobody that we know."""
    parts = cgroup.split("/")
    if "machine.slice" in parts or any(p.startswith("machine-qemu") for p in parts):
        return "libvirt"
    if any(_CONTAINER.search(part) for part in parts):
        return "a container"
    unit = next((part for part in reversed(parts) if _UNIT.fullmatch(part)), None)
    return f"systemd's {unit}" if unit else None


def _words(argv: Sequence[str]) -> Iterator[str]:
    """QEMU takes one hyphen or two."""
    return (f"-{w[2:]}" if w.startswith("--") else w for w in argv[1:])


def _of_argv(line: CommandLine) -> str | None:
    if any("\ufffd" in word for word in line.argv):
        return "its command line is not UTF-8"
    for word, value in pairwise((*_words(line.argv), "")):
        if word in _ONCE:
            return _ONCE[word]
        if word == "-run-with" and re.search(r"\b(user|chroot)=", value):
            return f"it has changed its user or root since ({word} {value})"
        if _HANDED.search(word):
            return f"it was handed descriptors ({word}), which are gone with it"
        if _TERMINAL.search(word) and line.stdin != "/dev/null":
            return f"it talks to {line.stdin} ({word})"
    return None


def why_not_again(
    line: CommandLine,
    *,
    is_vmm: bool,
    vouched: bool,
    file_now: tuple[int, int] | None,
    parent_lives: bool,
) -> str | None:
    """Why this command line cannot be given again; None: it can.

    `vouched` says that nobody else starts it again, `file_now` which file its program
    is now, `parent_lives` whether who started it is still there.
    """
    name = PurePath(line.program).name
    if not (_VMMS if is_vmm else _BACK_ENDS).fullmatch(name.removesuffix(" (deleted)")):
        return f"of {name} a command line does not say all"
    if line.differs or (why := _of_argv(line)):
        return line.differs or why
    if file_now != line.file:
        return f"{line.program} is another file by now"
    if not vouched and (owner := owner_of(line.cgroup)):
        return f"{owner} looks after it"
    if not vouched and line.parent is not None and parent_lives:
        who = f"{line.parent.name} (process {line.parent.pid})"
        return f"its parent {who} may start it again"
    return None


def _sockets(argv: Sequence[str]) -> Iterator[dict[str, str]]:
    for option, value in pairwise(_words(argv)):
        kind, *parts = value.split(",")
        if option == "-chardev" and kind == "socket":
            yield dict(part.partition("=")[::2] for part in parts)


def _names(word: str, path: str) -> bool:
    return re.search(rf"(^|[=:\"]){re.escape(path)}($|[,\"])", word) is not None


def shared_sockets(server: Sequence[str], vmm: Sequence[str]) -> list[dict[str, str]]:
    """Chardevs of a VMM's whose socket the other command line names too."""
    return [
        chardev
        for chardev in _sockets(vmm)
        if "path" in chardev and any(_names(word, chardev["path"]) for word in server)
    ]


def why_no_reconnect(server: Sequence[str], vmm: Sequence[str]) -> str | None:
    """Why a VMM would not find its back end again; None: it would."""
    shared = shared_sockets(server, vmm)
    if not shared:
        return "its command line names no socket of its VMM's"
    for chardev in shared:
        tries = chardev.get("reconnect", "0"), chardev.get("reconnect-ms", "0")
        if set(tries) == {"0"}:
            return (
                f"QEMU would not connect again: its chardev {chardev.get('id')} "
                "has no reconnect= (from QEMU 9.2 on reconnect-ms=)"
            )
    return None
