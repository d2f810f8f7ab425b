# SPDX-License-Identifier: Apache-2.0
"""Masakari is told of instances, once, as long as that may help."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner
from cloud import ACTED_ON, Cloud, write_clouds

from observer.cli import main as observer
from observer.escalate.alert import RESTARTED
from observer.escalate.outbox import Outbox
from observer.escalate.policy import EscalatePolicy, Masakari
from observer.escalate.postman import Postman
from observer.model import Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

INSTANCE = "3d84f07c-9b19-4cc6-9d25-c2a5e8a7a6f0"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says where the cloud is, and who we are there."""
    path = tmp_path / "clouds.yaml"
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    return lambda url, *secret: write_clouds(path, url, *secret)


def verdict(
    kind: VerdictKind = VerdictKind.VMM_CRASHED, instance: str | None = INSTANCE
) -> Verdict:
    now = datetime.now(UTC).isoformat()
    return Verdict(now, 7, "web-1", "web-1", kind, 3, 4, "gone", "", 9, instance)


@asynccontextmanager
async def postman(folder: Path, errors: list[str]) -> AsyncIterator[Postman]:
    outbox = Outbox(folder / "outbox.db")
    policy = EscalatePolicy(masakari=Masakari("ours", "compute-1"))
    made = Postman(policy, outbox, errors.append, "host-1")
    made.start()
    try:
        yield made
    finally:
        await made.close()
        outbox.close()


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it comes true in another process
            await asyncio.sleep(0.01)


def waiting(folder: Path) -> int:
    outbox = Outbox(folder / "outbox.db")
    try:
        return len(outbox.due(time.time() + 1000))
    finally:
        outbox.close()


def test_masakari_is_told_of_an_instance(
    known: Callable[..., None], tmp_path: Path
) -> None:
    """In words that its API takes, and that its engine acts on; once."""
    cloud, errors, fault = Cloud(), list[str](), verdict()

    async def main() -> None:
        with cloud.listening():
            known(cloud.url)
            async with postman(tmp_path, errors) as post:
                post.tell(fault, "no step helped")
                await until(lambda: bool(cloud.heard) and not waiting(tmp_path))
                post.over("web-1")
                await until(lambda: not waiting(tmp_path))

    asyncio.run(main())
    (heard,) = cloud.heard
    assert heard == {
        "type": "VM",
        "hostname": "compute-1",
        "generated_time": fault.time,
        "payload": {
            "instance_uuid": INSTANCE,
            "event": "LIFECYCLE",
            "vir_domain_event": "STOPPED_FAILED",
        },
    }
    assert heard["payload"]["vir_domain_event"] in ACTED_ON["LIFECYCLE"]
    assert not errors


def test_masakari_is_told_again_when_it_was_not_well(
    known: Callable[..., None], tmp_path: Path
) -> None:
    """After a pause; what it has understood and refused is not told again."""
    cloud, errors = Cloud(500, 409), list[str]()

    async def main() -> None:
        with cloud.listening():
            known(cloud.url)
            async with postman(tmp_path, errors) as post:
                post.tell(verdict(), "no step helped")
                await until(lambda: len(errors) == 2)
                assert not waiting(tmp_path)

    asyncio.run(main())
    assert errors[0].startswith("Masakari answered 500: ")
    assert errors[1].startswith("Masakari answered 409: code 409")
    assert errors[1].endswith("It was not told again.")
    assert not cloud.heard


def test_a_credential_that_is_none_is_one_sentence(
    known: Callable[..., None], tmp_path: Path
) -> None:
    """And may be mended while the letter waits."""
    cloud, errors = Cloud(), list[str]()

    async def main() -> None:
        with cloud.listening():
            known(cloud.url, "guessed")
            async with postman(tmp_path, errors) as post:
                post.tell(verdict(), "no step helped")
                await until(lambda: bool(errors))
                known(cloud.url)
                await until(lambda: bool(cloud.heard))

    asyncio.run(main())
    assert "Masakari of ours cannot be told: " in errors[0]
    assert "401" in errors[0]
    assert "\n" not in errors[0]


def test_what_is_well_again_is_not_restarted(
    known: Callable[..., None], tmp_path: Path
) -> None:
    """Neither by a letter that still waits, nor by one that is old."""
    errors: list[str] = []
    old = datetime.now(UTC) - timedelta(minutes=11)

    async def main() -> None:
        known("http://127.0.0.1:9")  # nobody is there
        async with postman(tmp_path, errors) as post:
            post.tell(verdict(), "no step helped")
            await until(lambda: bool(errors))
            assert waiting(tmp_path) == 1
            post.over("web-1")
            assert not waiting(tmp_path)

            late = msgspec.structs.replace(verdict(), time=old.isoformat())
            post.tell(late, "no step helped")
            await until(lambda: len(errors) == 2)
            assert not waiting(tmp_path)

    asyncio.run(main())
    assert errors[1] == (
        "masakari ours could not be told in time. It was not told again."
    )


def test_only_instances_that_a_start_may_mend_are_told(
    known: Callable[..., None], tmp_path: Path
) -> None:
    """A VM without a UUID is none, which is said once; a start gives nobody a CPU."""
    cloud, errors = Cloud(), list[str]()
    kinds = [kind for kind in VerdictKind if kind not in RESTARTED]

    async def main() -> None:
        with cloud.listening():
            known(cloud.url)
            async with postman(tmp_path, errors) as post:
                for kind in kinds:
                    post.tell(verdict(kind), "no step helped")
                for kind in RESTARTED:
                    post.tell(verdict(kind, None), "no step helped")
                assert not waiting(tmp_path)

    asyncio.run(main())
    (said,) = errors
    assert said.startswith("Masakari is not told of web-1, whose VMM was given no UUID")
    assert VerdictKind.BACKEND_STARVED in kinds
    assert not cloud.logins


CONFIG = '[escalate.masakari]\ncloud = "ours"\n'


def test_the_check_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Masakari is to be told and openstacksdk is missing."""
    config = tmp_path / "observer.toml"
    config.write_text(CONFIG)
    check = ["config", "check", str(config)]
    assert CliRunner().invoke(observer, check).exit_code == 0

    monkeypatch.setitem(sys.modules, "openstack", None)  # as Python finds none
    missing = CliRunner().invoke(observer, check)
    assert missing.exit_code == 1
    assert "pip install 'kvm-observer[masakari]'" in missing.output
    config.write_text("")
    assert CliRunner().invoke(observer, check).exit_code == 0
