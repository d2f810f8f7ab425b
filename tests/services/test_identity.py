# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from observer.services.identity import is_service_user, mac_of, users_of


def test_a_user_belongs_to_services_alone() -> None:
    """Above the system's dynamic users, below the ranges that containers get."""
    assert all(map(is_service_user, users_of("net")))
    assert users_of("net") == users_of("net")
    assert len({*users_of("net"), *users_of("disk")}) == 4
    for user in (0, 64_055, 65_519, 65_534, 100_000):
        assert not is_service_user(user)


def test_an_address_is_a_hosts_a_services_and_a_ports(tmp_path: Path) -> None:
    """Locally administered, of one station."""
    host, other = tmp_path / "a", tmp_path / "b"
    host.write_text("1f\n")
    other.write_text("2e\n")
    macs = {
        mac_of(name, port, at)
        for name in ("net", "disk")
        for port in (0, 1)
        for at in (host, other, tmp_path / "none")
    }
    assert len(macs) == 12
    assert {int(mac[:2], 16) & 3 for mac in macs} == {2}
    assert {len(mac) for mac in macs} == {17}
