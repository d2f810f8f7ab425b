# SPDX-License-Identifier: Apache-2.0
"""sd_notify(3): tell the service manager that we are ready, alive or leaving."""

from __future__ import annotations

import os
import socket

__all__ = ["notify_systemd"]


def notify_systemd(message: str) -> None:
    """Send a state to $NOTIFY_SOCKET; without one nobody wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(message.encode(), address)
