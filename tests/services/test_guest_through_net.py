# SPDX-License-Identifier: Apache-2.0
"""An unmodified Linux guest behind the net service; ping and iperf3 are the oracles."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.programs import with_programs
from observer.guests.traffic import host, ip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.guests.images import GuestImage

pytestmark = [
    pytest.mark.guest,
    pytest.mark.newest,
    pytest.mark.timeout(600),
]

SPEC = GuestSpec("behind", subnet=77)
OUTSIDE = ("ip", "netns", "exec", "outside")
LINKS = (
    SPEC.tap,
    "obs-guests",
    "obs-uplink",
    "obs-net-nic",
    "obs-net-back",
    "v-outside",
)
START = "mkdir /tmp\nip link set eth0 mtu 9000\niperf3 -4 --server --daemon\n"
PINGS = int(os.environ.get("OBSERVER_PINGS", "300"))
SECONDS = 3


@pytest.fixture(scope="module")
def guest(
    image: GuestImage,
    service: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """The guest's tap in the guests' bridge, its peer behind the uplink."""
    folder = tmp_path_factory.mktemp("image")
    service("up", "net")
    with linux_guest(SPEC, with_programs(image, ["iperf3"], START, folder)):
        ip("addr", "flush", "dev", SPEC.tap)
        ip("link", "set", SPEC.tap, "master", "obs-guests")
        with host("outside", "obs-uplink", SPEC.host_address):
            yield
    service("down", "net")


def lost(run: Callable[..., str], count: int, size: int) -> int:
    words = "-q", "-A", "-c", f"{count}", "-s", f"{size}", SPEC.guest_address
    said = run(*OUTSIDE, "busybox", "ping", *words)
    numbers = re.search(r"(\d+) packets transmitted, (\d+) packets received", said)
    assert numbers is not None, said
    assert int(numbers[1]) == count
    return count - int(numbers[2])


def iperf(run: Callable[..., str], *options: str) -> dict[str, Any]:
    words = "-c", SPEC.guest_address, "-t", f"{SECONDS}", "-J"
    end: dict[str, Any] = json.loads(run(*OUTSIDE, "iperf3", *words, *options))["end"]
    return end


@pytest.mark.usefixtures("guest")
def test_a_guest_is_reached_through_it(
    run: Callable[..., str], record_property: Callable[[str, object], None]
) -> None:
    """Pings small and jumbo, TCP and UDP both ways."""
    assert lost(run, PINGS, 56) == 0
    for link in LINKS:
        ip("link", "set", link, "mtu", "9000")
    ip("-n", "outside", "link", "set", "eth0", "mtu", "9000")
    assert lost(run, PINGS, 8900) == 0
    for way in ((), ("--reverse",)):
        tcp = iperf(run, *way)["sum_received"]["bits_per_second"]
        udp = iperf(run, "--udp", "--bitrate", "500K", *way)["sum"]
        record_property(f"tcp{''.join(way)}_bits_per_s", tcp)
        record_property(f"udp{''.join(way)}_lost", udp["lost_packets"])
        assert tcp > 0
        assert udp["packets"] > 0
        assert udp["lost_packets"] == 0
