# SPDX-License-Identifier: Apache-2.0
"""What is started is nobody's child, and has nothing of who started it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.actuators.launch import start
from observer.errors import ProgramError
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.inventory.command_line import CommandLine

# Only root becomes another user.
pytestmark = [pytest.mark.nested, pytest.mark.newest]

USER, GROUP, MORE = 64_200, 64_201, (64_202, 64_203)
LIMIT = 321


@pytest.fixture
def another(
    running: Callable[..., Iterator[CommandLine]], tmp_path: Path
) -> CommandLine:
    """How a sleeper would have been started by another user."""
    log = tmp_path / "log"
    log.touch()
    os.chown(log, USER, GROUP)
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o111)
    with running("sleeper") as line:
        return msgspec.structs.replace(
            line,
            environment={"HOME": "/x", "LD_LIBRARY_PATH": "/none"},
            user=USER,
            group=GROUP,
            groups=MORE,
            umask=0o027,
            no_new_privileges=True,
            limits={"RLIMIT_NOFILE": (LIMIT, LIMIT)},
            oom_score=300,
            stdout=str(log),
        )


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def test_it_is_what_the_other_was(another: CommandLine) -> None:
    """Though who starts it runs at another priority, with other files open."""
    with Path("/etc/passwd").open() as file:
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003 - its only argument
        pid = asyncio.run(start(another))
    folder, said = Path(f"/proc/{pid}"), status(pid)
    try:
        assert (folder / "cmdline").read_text().split("\0")[:-1] == list(another.argv)
        words = (folder / "environ").read_text().split("\0")[:-1]
        assert sorted(words) == ["HOME=/x", "LD_LIBRARY_PATH=/none"]
        assert str((folder / "cwd").readlink()) == another.folder
        assert set(said["Uid"].split()) == {str(USER)}
        assert set(said["Gid"].split()) == {str(GROUP)}
        assert said["Groups"].split() == [str(group) for group in MORE]
        assert int(said["CapEff"], 16) == 0
        assert (said["NoNewPrivs"], said["Umask"]) == ("1", "0027")
        assert said["PPid"] != str(os.getpid())
        assert os.getsid(pid) not in (os.getsid(0), pid)
        assert f"{LIMIT}" in (folder / "limits").read_text()
        assert (folder / "oom_score_adj").read_text().strip() == "300"
        assert int(said["SigIgn"], 16) == 0
        opened = {p.name: str(p.readlink()) for p in (folder / "fd").iterdir()}
        log = another.stdout
        assert opened == {"0": "/dev/null", "1": log, "2": log}
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not folder.exists(), 30, "init had reaped it")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"program": "/none/such"}, "/none/such"),
        ({"folder": "/none"}, "/none"),
        ({"cgroup": "/none.slice/none.scope"}, r"/none\.slice/none\.scope"),
    ],
)
def test_what_it_lacks_is_an_error(
    another: CommandLine, changed: dict[str, str], said: str
) -> None:
    """Nothing runs, and the sentence names it."""
    with pytest.raises(ProgramError, match=f"was not started: .*{said}"):
        asyncio.run(start(msgspec.structs.replace(another, **changed)))
