# SPDX-License-Identifier: Apache-2.0
"""Who a service VM is on its host and its links: a user and addresses, by its name."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

__all__ = ["is_service_user", "mac_of", "users_of"]

# Above systemd's DynamicUser= and below the first range of /etc/subuid.
FIRST_USER, USERS = 70_000, 20_000
LOCAL_UNICAST = 0x02


def users_of(name: str) -> tuple[int, int]:
    """Those that run the service's two VMMs; two names may share them by chance."""
    first = FIRST_USER + zlib.crc32(name.encode()) % (USERS // 2) * 2
    return first, first + 1


def is_service_user(user: int) -> bool:
    """Whether only service VMs run as this user; no guest has a say in it."""
    return FIRST_USER <= user < FIRST_USER + USERS


def mac_of(name: str, port: int, machine_id: Path = Path("/etc/machine-id")) -> str:
    """A locally administered address, the same at every start, another on each host."""
    host = machine_id.read_bytes() if machine_id.exists() else b""
    digest = hashlib.blake2b(host + name.encode(), digest_size=4).digest()
    return bytes([LOCAL_UNICAST, *digest, port]).hex(":")
