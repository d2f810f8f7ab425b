# SPDX-License-Identifier: Apache-2.0
"""What a keeper is told, by one who listens in its place."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from observer.actuators.service import ResetPart, RestartService
from observer.clock import SECOND
from observer.errors import ProgramError, UnfitError
from observer.model import Repair, Step, StepKind, Verdict, VerdictKind
from observer.services.folder import ServiceFolder
from observer.services.images import Port, ServiceSpec
from observer.services.record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PID = 4711
SPEC = ServiceSpec("net.elf", (Port("obs-none", "obs-none-br"),))


@pytest.fixture
def folder(tmp_path: Path) -> ServiceFolder:
    """Of a service that is up."""
    made = ServiceFolder(tmp_path / "net")
    made.vm.mkdir(parents=True)
    record = Record("net", PID, 1, 70001, SPEC)
    made.record.write_bytes(msgspec.json.encode(record))
    return made


def repair(subject: str = "net/nic", vm: str = "net", pid: int = PID) -> Repair:
    kind = VerdictKind.PART_HUNG
    verdict = Verdict("", 0, vm, subject, kind, 0, 0, "", "", pid)
    return Repair(verdict, Step(StepKind.RESET_PART, SECOND), 1)


@asynccontextmanager
async def listening(path: Path, answer: str) -> AsyncIterator[list[str]]:
    """Somebody who answers each line so; what they heard."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode().strip()
        heard.append(line)
        writer.write(answer.format(line).encode())
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield heard


def test_a_part_is_reset_by_the_keeper(folder: ServiceFolder) -> None:
    """By its own name, and in that life only."""

    async def main() -> None:
        async with listening(folder.keeper, "ok {}\n") as heard:
            await ResetPart(folder.path.parent).act(repair())
        assert heard == [f"reset nic {PID}"]

    asyncio.run(main())


def test_a_restart_names_the_life_that_is_to_end(folder: ServiceFolder) -> None:
    """So that an order given twice is carried out once."""

    async def main() -> None:
        async with listening(folder.keeper, "ok {}\n") as heard:
            await RestartService(folder.path.parent).act(repair("net"))
        assert heard == [f"restart {PID}"]

    asyncio.run(main())


def test_a_keeper_that_cannot_says_why(folder: ServiceFolder) -> None:
    """Its sentence is the error."""

    async def main() -> None:
        async with listening(folder.keeper, "QEMU ended with status 1.\nrefused {}\n"):
            await RestartService(folder.path.parent).act(repair("net"))

    with pytest.raises(ProgramError, match=r"^QEMU ended with status 1\.$"):
        asyncio.run(main())


@pytest.mark.parametrize(
    "wrong",
    [
        repair("net"),  # the whole of it
        repair("net/nic", vm="web"),
        repair("net/a b"),
        repair(pid=PID + 1),  # a life that is over
        repair(vm="../net", subject="../net/nic"),
        repair(vm="web", subject="web/nic"),
    ],
)
def test_what_is_no_part_of_a_service_is_not_reset(
    folder: ServiceFolder, wrong: Repair
) -> None:
    """Whatever a guest calls itself, and whenever it did so; nobody is told."""

    async def main() -> None:
        async with listening(folder.keeper, "ok {}\n") as heard:
            with pytest.raises(UnfitError):
                ResetPart(folder.path.parent).plan(wrong)
            with pytest.raises(UnfitError):
                await ResetPart(folder.path.parent).act(wrong)
        assert not heard

    asyncio.run(main())


def test_a_vm_that_is_no_service_has_no_keeper(folder: ServiceFolder) -> None:
    """An ordinary guest is not started again by us."""
    with pytest.raises(UnfitError, match="web is no service of this host"):
        RestartService(folder.path.parent).plan(repair("web", vm="web"))


def test_a_plan_says_what_would_be_done(folder: ServiceFolder) -> None:
    """And does nothing: nobody listens here."""
    runtime = folder.path.parent

    assert f"`reset nic {PID}`" in ResetPart(runtime).plan(repair())
    assert f"`restart {PID}`" in RestartService(runtime).plan(repair("net"))
