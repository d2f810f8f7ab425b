# SPDX-License-Identifier: Apache-2.0
"""Who is told of what is not repaired: the table [escalate] of the policy.

[escalate]
alertmanager = ["http://127.0.0.1:9093"]
webhook = ["http://127.0.0.1:8080/observer"]   # gets each alert as JSON
command = [["/usr/bin/logger", "-t", "observer"]]   # likewise, on standard input
[escalate.masakari]          # OpenStack: restarts the instances that it hears of
cloud = "observer"           # in clouds.yaml, as all of OpenStack's clients read it
host = "compute-1"           # what Nova calls this host; default: its own name
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

__all__ = ["EscalatePolicy", "Masakari"]

# Of Masakari's API (api/validation/parameter_types.py).
_HOST = re.compile(r"[a-zA-Z0-9._-]{1,255}")


class Masakari(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where Masakari is, and who we are to it."""

    cloud: str
    host: str | None = None


class EscalatePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses by kind; with none of them nobody is told."""

    alertmanager: tuple[str, ...] = ()
    webhook: tuple[str, ...] = ()
    command: tuple[tuple[str, ...], ...] = ()
    masakari: Masakari | None = None

    @property
    def tells_anybody(self) -> bool:
        """Whether there is an address at all."""
        addresses = self.alertmanager, self.webhook, self.command, self.masakari
        return any(addresses)

    def wrong(self) -> str | None:
        """What is wrong with it, as a key and a reason; None: nothing."""
        for key, urls in (
            ("alertmanager", self.alertmanager),
            ("webhook", self.webhook),
        ):
            for url in urls:
                parts = urlsplit(url)
                if parts.scheme not in ("http", "https") or not parts.netloc:
                    return f"{key}: {url!r} is no address that begins with http"
        for argv in self.command:
            if not argv or not argv[0].startswith("/"):
                return (
                    f"command: {list(argv)} does not begin with a program's whole path"
                )
        return self._wrong_masakari()

    def _wrong_masakari(self) -> str | None:
        if self.masakari is None:
            return None
        if not self.masakari.cloud:
            return "masakari.cloud: name one of clouds.yaml"
        host = self.masakari.host
        if host is not None and not _HOST.fullmatch(host):
            return f"masakari.host: {host!r} is no name of a host"
        return None
