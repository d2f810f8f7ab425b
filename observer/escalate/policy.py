# SPDX-License-Identifier: Apache-2.0
"""Who is told of what is not repaired: the table [escalate] of the policy.

[escalate]
alertmanager = ["http://127.0.0.1:9093"]
webhook = ["http://127.0.0.1:8080/observer"]   # gets each alert as JSON
command = [["/usr/bin/logger", "-t", "observer"]]   # likewise, on standard input
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

__all__ = ["EscalatePolicy"]


class EscalatePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses by kind; with none of them nobody is told."""

    alertmanager: tuple[str, ...] = ()
    webhook: tuple[str, ...] = ()
    command: tuple[tuple[str, ...], ...] = ()

    @property
    def tells_anybody(self) -> bool:
        """Whether there is an address at all."""
        return bool(self.alertmanager or self.webhook or self.command)

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
        return None
