# SPDX-License-Identifier: Apache-2.0
"""Programs of Debian packages that are unpacked below the checkout, not installed.

A server's package starts it, and would have it started at each boot; what runs in a
guest alone has no business here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from itertools import islice
from typing import TYPE_CHECKING

from observer.errors import HostError, ProgramError
from observer.testbed import apt, programs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["nginx", "unpack"]

TRY_SECONDS = 30
OF_THIS_RELEASE = 2
"""So many of `apt.states`: its last one is of another release."""


def unpack(
    archives: apt.Apt,
    packages: Sequence[str],
    place: Path,
    works: Callable[[Path], bool],
) -> bool:
    """Unpack packages beside their place, and rename them there if they work."""
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=place.parent) as scratch:
        debs, root = place.parent / scratch / "debs", place.parent / scratch / "root"
        debs.mkdir()
        root.mkdir(mode=0o755)
        archives.download(packages, debs)
        for deb in sorted(debs.iterdir()):
            programs.call("dpkg-deb", "-x", str(deb), str(root))
        if not works(root):
            return False
        shutil.rmtree(place, ignore_errors=True)
        root.rename(place)
    return True


def _starts(program: Path) -> bool:
    done = subprocess.run(
        [str(program), "-v"], capture_output=True, check=False, timeout=TRY_SECONDS
    )
    return done.returncode == 0


def nginx(build: Path, say: Callable[[str], None]) -> Path:
    """The web server, fetched below the folder if need be."""
    place, within = build / "nginx", "usr/sbin/nginx"
    if (place / within).exists():
        return place / within
    build.mkdir(parents=True, exist_ok=True)
    say("downloading nginx, for guests")
    wrong = "it does not start here"
    codename = "none"  # of the views of other releases none is taken
    for archives in islice(apt.states(build / "apt", codename), OF_THIS_RELEASE):
        try:
            if unpack(archives, ["nginx"], place, lambda root: _starts(root / within)):
                return place / within
        except ProgramError as e:
            wrong = e.message
    raise HostError(
        f"cannot get nginx for the guests: {wrong.rstrip('.')}; check that "
        "`apt-get update` works and that Debian is among the package sources."
    )
