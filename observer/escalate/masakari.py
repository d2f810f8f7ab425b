# SPDX-License-Identifier: Apache-2.0
"""Tells Masakari of one instance, and ends.

    python -m observer.escalate.masakari CLOUD < NOTIFICATION

A process of its own: openstacksdk is larger than the daemon, and waits for Keystone.
CLOUD is one of clouds.yaml, which says where it is and who we are there.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import msgspec

from observer.errors import HostError, UsageError

__all__ = ["NEVER", "check_installed", "main"]

NEVER = UsageError.exit_code
"""The status where Masakari has understood, and will not have it."""
UNDERSTOOD = (400, 409)


def check_installed() -> None:
    """Refuse early, with a sentence, where nobody could be told."""
    if find_spec("openstack") is None:
        raise HostError(
            "escalate.masakari needs openstacksdk: install it into this environment "
            "(pip install 'kvm-observer[masakari]')."
        )


def _tell(cloud: str, notification: dict[str, Any]) -> int:
    import openstack
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import HttpException, SDKException

    try:
        with openstack.connect(cloud=cloud) as connection:
            connection.instance_ha.create_notification(**notification)
    except HttpException as e:
        sys.stderr.write(f"Masakari answered {e.status_code}: {e.details}\n")
        return NEVER if e.status_code in UNDERSTOOD else 1
    except (ClientException, SDKException) as e:
        sys.stderr.write(f"Masakari of {cloud} cannot be told: {e}\n")
        return 1
    return 0


def main(cloud: str) -> int:
    """Tell what standard input says; 0, NEVER, or 1 where it is worth another try."""
    try:
        check_installed()
    except HostError as e:
        sys.stderr.write(f"{e.message}\n")
        return 1
    return _tell(cloud, msgspec.json.decode(sys.stdin.buffer.read()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
