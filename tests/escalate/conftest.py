# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from observer.errors import ProgramError
from observer.guests.waiting import wait_until
from observer.testbed import apt, programs
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = "usr/bin/prometheus-alertmanager"
# Its templates are looked for in /usr/share: it gets one of its own.
PLACED = 'mount --bind "$1" /usr/share && shift && exec "$@"'
CONFIG = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n"


@pytest.fixture(scope="session")
def placed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Debian's, unpacked and not installed: a host would run it from then on."""
    place = checkout() / "build/alertmanager"
    if not (place / PROGRAM).exists():
        scratch = tmp_path_factory.mktemp("alertmanager")
        for archives in apt.states(scratch / "apt", "bookworm"):
            try:
                archives.download(["prometheus-alertmanager"], scratch)
                break
            except ProgramError:
                continue
        (deb,) = scratch.glob("*.deb")
        programs.call("dpkg-deb", "-x", str(deb), str(scratch / "root"))
        shutil.copytree(scratch / "root", place, dirs_exist_ok=True)
    unshared = ("unshare", "--map-root-user", "--mount", "sh", "-c", PLACED, "sh")
    return (*unshared, str(place / "usr/share"), str(place / PROGRAM))


@pytest.fixture
def port() -> int:
    """One that is free, or was a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Alertmanager:
    """One that runs, or will."""

    def __init__(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"
        self.url = f"http://{self._address}"

    def alerts(self) -> list[dict[str, Any]]:
        """Those that last, as it tells them itself."""
        found: list[dict[str, Any]] = json.loads(self._get("/api/v2/alerts"))
        return found

    def is_ready(self) -> bool:
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise ConnectionError(answer.reason)
            return answer.read()
        finally:
            connection.close()


@pytest.fixture
def alertmanager(placed: tuple[str, ...], tmp_path: Path) -> Callable[[int], Any]:
    """Runs it on a port, while a block does."""

    @contextmanager
    def running(port: int) -> Iterator[Alertmanager]:
        config = tmp_path / "alertmanager.yml"
        config.write_text(CONFIG)
        argv = [*placed, f"--config.file={config}", "--cluster.listen-address="]
        argv += [f"--storage.path={tmp_path / 'storage'}"]
        argv += [f"--web.listen-address=127.0.0.1:{port}"]
        with (
            Path(tmp_path / "log").open("wb") as log,
            subprocess.Popen(argv, stdout=log, stderr=log) as process,
        ):
            try:
                there = Alertmanager(port)
                wait_until(there.is_ready, 30, "Alertmanager was ready")
                yield there
            finally:
                process.kill()

    return running
