# SPDX-License-Identifier: Apache-2.0
"""Taps and bridges of service VMs.

A tap lives as long as a descriptor of it is open: the keeper's copy lets frames queue
in it while its VM is restarted, and leaves nothing behind when both are gone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyroute2 import IPRoute, NetlinkError
from pyroute2.ethtool.ethtool import Ethtool

from observer.errors import HostError, UsageError
from observer.guests.tap import open_tap, silence, tap_index
from observer.services.aoe import held_links

if TYPE_CHECKING:
    from collections.abc import Iterable

    from observer.services.images import Port

__all__ = ["copy_what_is_sent", "join", "open_port", "remove_empty_bridges"]

# What waits before a tap while its VM is away comes all at once when that is back.
QUEUE_FRAMES = 8192
OURS = "observer"  # the alias of a bridge that we made, and may remove
BY_REFERENCE = "tx-scatter-gather"


def open_port(port: Port, *, many_queues: bool) -> int:
    """Make the tap of a port; its descriptor."""
    with IPRoute() as ip:
        if ip.link_lookup(ifname=port.tap):
            raise UsageError(
                f"There is a network device {port.tap} already: end who uses it, or "
                "name another in images.toml."
            )
    try:
        return open_tap(port.tap, many_queues=many_queues)
    except OSError as e:
        raise HostError(
            f"The tap {port.tap} cannot be made ({e.strerror}): load the module tun, "
            "and use sudo."
        ) from e


def _own_address() -> str:
    """A locally administered one: else a bridge takes, and changes, its ports'."""
    return ":".join(f"{byte:02x}" for byte in b"\x02ob" + os.urandom(3))


def _bridge(ip: IPRoute, name: str, mtu: int) -> int:
    """The index of a bridge, made where it is not there; UsageError of another link."""
    found = ip.link_lookup(ifname=name)
    if not found:
        ip.link("add", ifname=name, kind="bridge", address=_own_address())
        found = ip.link_lookup(ifname=name)
        ip.link("set", index=found[0], ifalias=OURS, mtu=mtu)
        silence(name)
    elif not Path(f"/sys/class/net/{name}/bridge").exists():
        raise UsageError(f"{name} is no bridge: name another in images.toml.")
    ip.link("set", index=found[0], state="up")
    return int(found[0])


def join(port: Port) -> str:
    """Put a tap into its bridge, and both up; the bridge's address."""
    silence(port.tap)
    tap = tap_index(port.tap)
    with IPRoute() as ip:
        try:
            ip.link("set", index=tap, txqlen=QUEUE_FRAMES)
            bridge = _bridge(ip, port.bridge, port.mtu)
            ip.link("set", index=tap, mtu=port.mtu, master=bridge, state="up")
            (link,) = ip.get_links(bridge)
        except NetlinkError as e:
            raise HostError(
                f"{port.tap} cannot be set up, in {port.bridge} with its mtu of "
                f"{port.mtu} ({os.strerror(e.code)}): load the module bridge."
            ) from e
    return str(link.get_attr("IFLA_ADDRESS"))


def copy_what_is_sent(bridge: str) -> None:
    """Have each frame that this host itself sends by a bridge be a copy, from then on.

    The initiator's refer to the pages that are written, and one that is sent again
    shares its header with the first (drivers/block/aoe/aoecmd.c, skb_fillup, resend).
    Where they wait for their target the first is answered in the name of the second,
    which then writes what its user has put into these pages since.  A device that
    cannot gather is given both in one piece (net/core/dev.c, validate_xmit_skb).

    Raises UsageError of a bridge that is somebody else's, and sends by reference.
    """
    with IPRoute() as ip, Ethtool() as ethtool:
        (link,) = ip.get_links(ifname=bridge)
        features = ethtool.get_features(bridge)
        if not features.features[BY_REFERENCE].enable:
            return
        if link.get_attr("IFLA_IFALIAS") != OURS:
            raise UsageError(
                f"{bridge} sends by reference, so a block asked for again could be "
                f"written with later data: ethtool -K {bridge} sg off."
            )
        features.features[BY_REFERENCE].enable = False
        ethtool.set_features(bridge, features)


def remove_empty_bridges(ports: Iterable[Port]) -> None:
    """Remove bridges that we made and that nobody uses any more."""
    with IPRoute() as ip:
        names = {port.bridge for port in ports} - held_links()
        for index in (i for name in names for i in ip.link_lookup(ifname=name)):
            (link,) = ip.get_links(index)
            ported = any(p.get_attr("IFLA_MASTER") == index for p in ip.get_links())
            if link.get_attr("IFLA_IFALIAS") == OURS and not ported:
                ip.link("del", index=index)
