# SPDX-License-Identifier: Apache-2.0
"""What a keeper is told, by one who listens in its place."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from observer.actuators.service import (
    KeeperOrder,
    reset_part,
    restart,
    switch_to_spare,
)
from observer.clock import SECOND
from observer.errors import ProgramError, UnfitError
from observer.model import Repair, Step, StepKind, Verdict, VerdictKind
from observer.services.folder import ServiceFolder
from observer.services.images import Port, ServiceSpec
from observer.services.record import Record, write_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PID = 4711
SPEC = ServiceSpec("net.elf", (Port("obs-none", "obs-none-br"),))


@pytest.fixture
def folder(tmp_path: Path) -> ServiceFolder:
    """Of a service that is up."""
    made = ServiceFolder(tmp_path / "net")
    made.path.mkdir()
    write_record(made, Record("net", PID, 1, 70001, SPEC))
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
            await KeeperOrder(folder.path.parent, reset_part).act(repair())
        assert heard == [f"reset nic {PID}"]

    asyncio.run(main())


def test_a_restart_names_the_life_that_is_to_end(folder: ServiceFolder) -> None:
    """So that an order given twice is carried out once."""

    async def main() -> None:
        async with listening(folder.keeper, "ok {}\n") as heard:
            await KeeperOrder(folder.path.parent, restart).act(repair("net"))
        assert heard == [f"restart {PID}"]

    asyncio.run(main())


def test_a_keeper_that_cannot_says_why(folder: ServiceFolder) -> None:
    """Its sentence is the error."""

    async def main() -> None:
        async with listening(folder.keeper, "QEMU ended with status 1.\nrefused {}\n"):
            await KeeperOrder(folder.path.parent, restart).act(repair("net"))

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
                KeeperOrder(folder.path.parent, reset_part).plan(wrong)
            with pytest.raises(UnfitError):
                await KeeperOrder(folder.path.parent, reset_part).act(wrong)
        assert not heard

    asyncio.run(main())


def test_a_vm_that_is_no_service_has_no_keeper(folder: ServiceFolder) -> None:
    """An ordinary guest is not started again by us."""
    with pytest.raises(UnfitError, match="web is no service of this host"):
        KeeperOrder(folder.path.parent, restart).plan(repair("web", vm="web"))


def test_a_plan_says_what_would_be_done(folder: ServiceFolder) -> None:
    """And does nothing: nobody listens here."""
    runtime = folder.path.parent

    assert f"`reset nic {PID}`" in KeeperOrder(runtime, reset_part).plan(repair())
    assert f"`restart {PID}`" in KeeperOrder(runtime, restart).plan(repair("net"))


def test_a_spare_serves_in_the_place_of_a_life(folder: ServiceFolder) -> None:
    """Of this one; a switch that has been made already is asked for all the same."""
    record = Record("net", PID, 1, 70001, SPEC, spare=PID + 1)
    write_record(folder, record)
    actuator = KeeperOrder(folder.path.parent, switch_to_spare)

    async def main() -> None:
        async with listening(folder.keeper, "ok {}\n") as heard:
            await actuator.act(repair("net"))
            await actuator.act(repair("net", pid=PID - 1))
        assert heard == [f"switch {PID}", f"switch {PID - 1}"]

    asyncio.run(main())


def test_only_one_that_has_a_spare_is_switched(folder: ServiceFolder) -> None:
    """Not one without, and not the spare."""
    actuator = KeeperOrder(folder.path.parent, switch_to_spare)
    with pytest.raises(UnfitError, match="net has no spare"):
        actuator.plan(repair("net"))

    write_record(folder, Record("net", PID, 1, 70001, SPEC, spare=PID + 1))
    with pytest.raises(UnfitError, match="the spare of net itself"):
        actuator.plan(repair("net/spare", pid=PID + 1))
