# SPDX-License-Identifier: Apache-2.0
"""What a QEMU is told, by one who listens in its place."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from observer.actuators.link import BounceLink
from observer.errors import ProgramError, UnfitError
from observer.kernel.cells import RingFlag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Host

RECEIVE, TRANSMIT, WORKER = 3, 4, 101
OFF, ON = ("set_link", "nic0", False), ("set_link", "nic0", True)
ASKED = ("query-pci", None, None)


def device(name: str, address: int, kind: int = 0x200) -> dict[str, Any]:
    region = {"bar": 4, "type": "memory", "size": 0x4000, "address": address}
    return {"qdev_id": name, "class_info": {"class": kind}, "regions": [region]}


async def orders(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """QMP needs nothing between two orders."""
    text, decoder = "", json.JSONDecoder()
    while more := await reader.read(4096):
        text += more.decode()
        while text:
            order, end = decoder.raw_decode(text)
            text = text[end:].lstrip()
            yield order


class Monitor:
    """A QEMU that answers, refuses, or lets `set_link` wait until it has both."""

    def __init__(self, *devices: dict[str, Any]) -> None:
        self._devices = list(devices)
        self.heard: list[tuple[str, str | None, bool | None]] = []
        self.waits = self.refuses = False
        self.began, self.bounced = asyncio.Event(), asyncio.Event()
        self.sessions: set[asyncio.Task[None] | None] = set()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.sessions.add(asyncio.current_task())
        writer.write(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
        held: list[bytes] = []
        async for order in orders(reader):
            said = {k: order[k] for k in ("id",) if k in order}
            said["return"] = self._answer(order)
            if self.refuses and order["execute"] == "set_link":
                del said["return"]
                said["error"] = {"class": "DeviceNotFound", "desc": "no such NIC"}
            held.append(json.dumps(said).encode() + b"\r\n")
            if not self.waits or self.bounced.is_set() or not self.began.is_set():
                writer.writelines(held)
                held.clear()
        writer.close()

    def _answer(self, order: dict[str, Any]) -> Any:
        name, given = order["execute"], order.get("arguments", {})
        if name != "qmp_capabilities":
            self.heard.append((name, given.get("name"), given.get("up")))
        if name == "set_link":
            (self.bounced if given["up"] else self.began).set()
        answers = {
            "query-pci": [{"bus": 0, "devices": self._devices}],
            "query-rx-filter": [{"name": "virtio-net-pci.0", "promiscuous": False}],
        }
        return answers.get(name, {})


@asynccontextmanager
async def listening(host: Host, *devices: dict[str, Any]) -> AsyncIterator[Monitor]:
    monitor = Monitor(*devices)
    server = await asyncio.start_unix_server(monitor.serve, host.vm.qmp)
    async with server:
        yield monitor
        await asyncio.wait(monitor.sessions)


def bounce(host: Host) -> BounceLink:
    return BounceLink(host.find, host.books, host.proc)


def test_the_link_goes_off_and_on(host: Host) -> None:
    """Of the NIC that has the ring's doorbell in its own memory, behind a bridge."""

    async def main() -> None:
        bridge = device("port", 0, 0x604)
        bridge["pci_bridge"] = {"devices": [device("nic0", 0xFE00_0000)]}
        devices = device("disk0", 0xFE00_4000, 0x100), bridge
        async with listening(host, device("nic1", 0xFE00_8000), *devices) as qemu:
            await bounce(host).act(host.repair())
        assert qemu.heard == [ASKED, OFF, ON]

    host.owes(TRANSMIT)
    asyncio.run(main())


def test_it_goes_on_though_its_time_is_over(host: Host) -> None:
    """Both orders are with QEMU before it answers the first."""

    async def main() -> None:
        async with listening(host, device("nic0", 0xFE00_0000)) as qemu:
            qemu.waits = True
            act = asyncio.create_task(bounce(host).act(host.repair()))
            await asyncio.wait_for(qemu.began.wait(), 5)
            act.cancel()
            await asyncio.wait_for(qemu.bounced.wait(), 5)
            with pytest.raises(asyncio.CancelledError):
                await act
        assert qemu.heard == [ASKED, OFF, ON]

    host.owes(TRANSMIT)
    asyncio.run(main())


def test_what_is_left_off_is_switched_on(host: Host) -> None:
    """It is left off where vhost does not serve the rings; nothing owes there."""

    async def main() -> None:
        async with listening(host, device("nic0", 0xFE00_0000)) as qemu:
            await bounce(host).settle(host.repair())
            assert not qemu.heard
            for slot in (RECEIVE, TRANSMIT):
                host.books.rings[slot]["flags"] &= ~int(RingFlag.LIVE) & 0xFF
            await bounce(host).settle(host.repair())
        assert qemu.heard == [ASKED, ON]

    asyncio.run(main())


def test_a_nic_without_an_id_is_called_as_qemu_does(host: Host) -> None:
    """Where there is only one; of two, none is guessed."""

    async def main() -> None:
        async with listening(host, device("", 0xFE00_0000)) as qemu:
            await bounce(host).act(host.repair())
        name = "virtio-net-pci.0"
        filters = ("query-rx-filter", None, None)
        links = [("set_link", name, up) for up in (False, True)]
        assert qemu.heard == [ASKED, filters, *links]

    async def two() -> None:
        devices = device("", 0xFE00_0000), device("", 0xFE00_4000)
        async with listening(host, *devices) as qemu:
            with pytest.raises(UnfitError, match="not the only one"):
                await bounce(host).act(host.repair())
        assert qemu.heard == [ASKED]

    host.owes(TRANSMIT)
    asyncio.run(main())
    host.proc.joinpath("qmp").unlink()
    asyncio.run(two())


def test_a_doorbell_that_is_no_nics_is_left_alone(host: Host) -> None:
    """E.g. of a vsock."""

    async def main() -> None:
        async with listening(host, device("vsock0", 0xFE00_0000, 0x780)) as qemu:
            with pytest.raises(UnfitError, match="belongs to no NIC"):
                await bounce(host).act(host.repair())
        assert qemu.heard == [ASKED]

    host.owes(TRANSMIT)
    asyncio.run(main())


def test_rings_that_nobody_has_kicked_may_be_anybodys(host: Host) -> None:
    """A vsock's, though there is only one NIC."""
    host.owes(TRANSMIT)
    for slot in (RECEIVE, TRANSMIT):
        host.books.rings[slot]["doorbell"] = 0
    with pytest.raises(UnfitError, match="no kick of transmit ring 1 was seen"):
        asyncio.run(bounce(host).act(host.repair()))


def test_a_qemu_that_refuses_is_one_sentence(host: Host) -> None:
    """With its own reason."""

    async def main() -> None:
        async with listening(host, device("nic0", 0xFE00_0000)) as qemu:
            qemu.refuses = True
            with pytest.raises(ProgramError, match="did not take set_link: no such"):
                await bounce(host).act(host.repair())

    host.owes(TRANSMIT)
    asyncio.run(main())


def test_a_worker_that_is_stuck_would_hold_up_its_vmm(host: Host) -> None:
    """QEMU waits for it, and its guest for QEMU."""
    host.owes(TRANSMIT)
    host.put(WORKER, "vhost-100", "D")

    with pytest.raises(UnfitError, match="would hold up its VMM"):
        bounce(host).plan(host.repair())


def test_a_worker_that_is_at_work_is_left_to_come_to_rest(host: Host) -> None:
    """It may serve the other ring; one that spins for good is never interfered with."""

    async def main() -> None:
        async with listening(host, device("nic0", 0xFE00_0000)) as qemu:
            act = asyncio.create_task(bounce(host).act(host.repair()))
            await asyncio.wait([act], timeout=0.1)
            assert not act.done()
            assert OFF not in qemu.heard
            host.put(WORKER, "vhost-100", "S")
            await asyncio.wait_for(act, 30)
            assert qemu.heard == [ASKED, OFF, ON]

    host.owes(TRANSMIT)
    host.put(WORKER, "vhost-100", "R")
    asyncio.run(main())


def test_a_plan_says_where(host: Host) -> None:
    """And gives no order: nobody listens here."""
    host.owes(TRANSMIT)
    plan = bounce(host).plan(host.repair())

    assert "of the NIC with transmit ring 1" in plan
    assert plan.endswith(f"by QMP at {host.vm.qmp}")
