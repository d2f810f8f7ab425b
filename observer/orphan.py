# SPDX-License-Identifier: Apache-2.0
"""Becomes a recorded command line once more, as an orphan.

A small program of its own: what it becomes is no child of the observer, in none of its
cgroups, at none of its priorities, and outlives it.  As root it does what root must;
files of the user's are opened, and the user's environment is set, as that user.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

import msgspec

from observer.inventory.command_line import CommandLine

__all__ = ["main"]

CGROUPS = Path("/sys/fs/cgroup")
PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h
FAILED = 127


def _enter_cgroup(cgroup: str) -> None:
    if f"0::{cgroup}\n" not in Path("/proc/self/cgroup").read_text():
        (CGROUPS / cgroup.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))


def _become_user(line: CommandLine) -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(0, line.cpus)
    _enter_cgroup(line.cgroup)
    Path("/proc/self/oom_score_adj").write_text(str(line.oom_score))
    for name, limit in line.limits.items():
        resource.setrlimit(getattr(resource, name), limit)
    os.setgroups(line.groups)
    os.setresgid(line.group, line.group, line.group)
    os.setresuid(line.user, line.user, line.user)
    if line.no_new_privileges:
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _output(line: CommandLine) -> int:
    """Where it wrote to, if that was a file."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY
    path = Path(line.stdout)
    if path.is_absolute() and path.is_file():
        try:
            return os.open(path, flags)
        except OSError:
            pass
    return os.open(os.devnull, flags)


def _become(line: CommandLine) -> None:
    """Run it in our place."""
    _become_user(line)
    os.umask(line.umask)
    os.chdir(line.folder)
    output = _output(line)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve(line.program, line.argv, line.environment)  # noqa: S606 - as it was


def main() -> int:
    """Take a command line in JSON; say the pid, or why there is none."""
    line = msgspec.json.decode(sys.stdin.buffer.read(), type=CommandLine)
    os.setsid()
    heard, told = os.pipe()  # closed by exec
    pid = os.fork()
    if not pid:
        try:
            _become(line)
        except (OSError, ValueError) as e:
            os.write(told, str(e).encode())
        finally:
            os._exit(FAILED)
    os.close(told)
    why = os.read(heard, 1000).decode(errors="replace")
    print(why or pid)  # noqa: T201 - the one who started us waits for it
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
