# SPDX-License-Identifier: Apache-2.0
"""How a process was started: all that it takes to start it so once more.

What cannot be given to another one is named in `differs`, for it can only be seen while
the process lives.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from observer.inventory.procfs import read_proc
from observer.inventory.task import look_at_task

__all__ = ["CommandLine", "Parent", "file_id", "find_running", "read_command_line"]

# What a program of QEMU's reads; the rest is the session's, and may hold secrets.
ENVIRONMENT = re.compile(
    r"HOME|LANG|LC_ALL|LD_LIBRARY_PATH|LOGNAME|PATH|TMPDIR|TZ|USER"
    r"|XDG_RUNTIME_DIR|QEMU_\w+"
)
LIMITS = {
    "Max core file size": "RLIMIT_CORE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max open files": "RLIMIT_NOFILE",
    "Max processes": "RLIMIT_NPROC",
}
UNLIMITED = -1  # resource.RLIM_INFINITY
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
INFLIGHT = "vhost-inflight"
"""What libvhost-user and DPDK call the memory in which requests in flight are kept."""


class Parent(msgspec.Struct, frozen=True):
    """Who sees a process end, and might start it again; init is none."""

    name: str
    pid: int
    start_ticks: int


class CommandLine(msgspec.Struct, frozen=True):
    """What a process was given when it was started."""

    pid: int
    start_ticks: int
    program: str
    file: tuple[int, int]
    """Device and inode of the program: another one may bear its name by now."""
    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    user: int
    group: int
    groups: tuple[int, ...]
    umask: int
    no_new_privileges: bool
    cpus: tuple[int, ...]
    limits: dict[str, tuple[int, int]]
    oom_score: int
    cgroup: str
    parent: Parent | None
    stdin: str
    stdout: str
    differs: str | None = None
    """What of it cannot be given to another."""
    tracks_inflight: bool = False
    """Its requests in flight are kept in memory that it shares with its VMM."""


def _fields(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key: value.strip() for key, value in pairs}


def _limit(word: str) -> int:
    return UNLIMITED if word == "unlimited" else int(word)


def _limits(text: str) -> dict[str, tuple[int, int]]:
    found = {}
    for name, which in LIMITS.items():
        if match := re.search(rf"^{name}\s+(\S+)\s+(\S+)", text, re.MULTILINE):
            found[which] = _limit(match[1]), _limit(match[2])
    return found


def _cpus(text: str) -> tuple[int, ...]:
    """Of a list such as `0-2,5`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _cgroup(text: str) -> str:
    """The path in the unified hierarchy."""
    lines = (line.split(":", 2) for line in text.splitlines())
    return next((path for number, _, path in lines if number == "0"), "/")


def _differs(folder: Path, ours: Path, status: dict[str, str]) -> str | None:
    """What sets it apart from us, and from all that we could start."""
    for name in NAMESPACES:
        if (folder / "ns" / name).readlink() != (ours / "ns" / name).readlink():
            return f"its {name} namespace is another than ours"
    if str((folder / "root").readlink()) != "/":
        return "it was started in a root of its own"
    if len(set(status["Uid"].split())) > 1 or len(set(status["Gid"].split())) > 1:
        return "it has changed its user since"
    us = _fields(read_proc(ours / "status"))
    rights = us["CapEff"] if status["Uid"].split()[0] == "0" else "0" * 16
    if status["CapEff"] != rights:
        return "it has other capabilities than its user"
    if _label(folder) != _label(ours):
        return f"its security label is {_label(folder)}"
    return None


def _label(folder: Path) -> str:
    try:
        return read_proc(folder / "attr/current").strip("\0\n")
    except OSError:  # no security module gives one
        return ""


def _parent(proc: Path, pid: int) -> Parent | None:
    """Not init, nor the systemd of a user, which takes orphans too."""
    if pid <= 1:
        return None
    folder = proc / str(pid)
    name = read_proc(folder / "comm").strip()
    ticks = look_at_task(folder).start_ticks
    return None if name == "systemd" else Parent(name, pid, ticks)


def file_id(program: str) -> tuple[int, int] | None:
    """Which file bears this name now."""
    try:
        found = Path(program).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read(proc: Path, pid: int) -> CommandLine:
    folder = proc / str(pid)
    status = _fields(read_proc(folder / "status"))
    words = read_proc(folder / "environ").split("\0")
    pairs = (word.split("=", 1) for word in words if "=" in word)
    file = (folder / "exe").stat()
    return CommandLine(
        pid=pid,
        start_ticks=look_at_task(folder).start_ticks,
        program=str((folder / "exe").readlink()),
        file=(file.st_dev, file.st_ino),
        argv=tuple(read_proc(folder / "cmdline").split("\0")[:-1]),
        environment={k: v for k, v in pairs if ENVIRONMENT.fullmatch(k)},
        folder=str((folder / "cwd").readlink()),
        user=int(status["Uid"].split()[0]),
        group=int(status["Gid"].split()[0]),
        groups=tuple(int(word) for word in status["Groups"].split()),
        umask=int(status["Umask"], 8),
        no_new_privileges=status["NoNewPrivs"] == "1",
        cpus=_cpus(status["Cpus_allowed_list"]),
        limits=_limits(read_proc(folder / "limits")),
        oom_score=int(read_proc(folder / "oom_score_adj")),
        cgroup=_cgroup(read_proc(folder / "cgroup")),
        parent=_parent(proc, int(status["PPid"])),
        stdin=str((folder / "fd/0").readlink()),
        stdout=str((folder / "fd/1").readlink()),
        differs=_differs(folder, proc / "self", status),
        tracks_inflight=INFLIGHT in read_proc(folder / "maps"),
    )


def read_command_line(proc: Path, pid: int, start_ticks: int) -> CommandLine | None:
    """Read it; None where this very process is gone.

    May wait for its mmap_lock: call it in a thread.
    """
    try:
        found = _read(proc, pid)
    except (OSError, KeyError, IndexError):
        return None
    again = look_at_task(proc / str(pid)).start_ticks
    same = found.start_ticks == again == start_ticks
    return found if same and found.argv else None


def find_running(proc: Path, line: CommandLine) -> int | None:
    """Another process that was started by the same words, of the same user."""
    for folder in proc.iterdir():
        if not folder.name.isdigit() or int(folder.name) == line.pid:
            continue
        try:
            if str((folder / "exe").readlink()) != line.program:
                continue
            if folder.stat().st_uid != line.user:
                continue
            argv = read_proc(folder / "cmdline").split("\0")[:-1]
        except OSError:
            continue
        if tuple(argv) == line.argv:
            return int(folder.name)
    return None
