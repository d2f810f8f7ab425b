# SPDX-License-Identifier: Apache-2.0
"""nginx in the guest, ApacheBench on the host: as the Phoenix paper has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.experiment.spread import Spread
from observer.experiment.workloads.client import asked
from observer.experiment.workloads.workload import Kit, WorkloadSample
from observer.testbed.nested import silent
from observer.testbed.unpacked import nginx

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.guest import Guest

__all__ = ["Nginx", "parse_ab"]

REQUESTS, CONCURRENCY = 10_000, 10  # Phoenix (DSN 2020), section V
PAGE_BYTES = 1024
START = """\
mkdir -p /etc /srv /var/log/nginx /var/lib/nginx
echo 'root:x:0:0:root:/:/bin/sh' >/etc/passwd
echo 'root:x:0:' >/etc/group
head -c {bytes} /dev/zero | tr '\\0' x >/srv/page
cat >/etc/nginx.conf <<'END'
user root;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
	access_log off;
	server {{ listen 80; location / {{ root /srv; }} }}
}}
END
{nginx} -c /etc/nginx.conf >/dev/ttyS0 2>&1
"""


def _number(pattern: str, said: str) -> float:
    found = re.search(pattern, said, re.MULTILINE)
    if not found:
        raise ProgramError(f"ab did not say {pattern!r}: {said.strip()[-200:]}")
    return float(found[1])


def parse_ab(said: str, requests: int) -> tuple[float, Spread]:
    """Requests a second, and their latencies; all must have been answered well.

    ab keeps single latencies in whole ms only, so its own percentiles are taken, which
    are finer (`-e`).
    """
    complete = _number(r"^Complete requests: +(\d+)$", said)
    failed = _number(r"^Failed requests: +(\d+)$", said)
    if complete != requests or failed:
        raise ProgramError(
            f"Of {requests} requests {complete:.0f} were answered, {failed:.0f} badly."
        )
    return _number(r"^Requests per second: +([\d.]+) ", said), Spread(
        _number(r"^Time per request: +([\d.]+) \[ms\] \(mean\)$", said),
        *(_number(rf"^{percent},([\d.]+)$", said) for percent in (50, 95, 99)),
    )


@dataclass(frozen=True)
class Nginx:
    """A static page, asked for so often by ten clients at once."""

    requests: int = REQUESTS
    name: str = "nginx"
    memory_mib: int = 128
    port: int | None = 80

    def kit(self, build: Path) -> Kit:
        """The server and one page."""
        server = nginx(build / "testbed", silent).resolve()
        return Kit((str(server),), START.format(nginx=server, bytes=PAGE_BYTES))

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:  # noqa: ARG002 - as much as it says
        """Ask for the page, so often."""
        said, took_s = asked(
            [
                *("ab", "-q", "-n", str(self.requests), "-c", str(CONCURRENCY)),
                *("-e", "/dev/stdout"),
                f"http://{guest.spec.guest_address}/page",
            ],
            guest,
            self.requests,
        )
        throughput, spread = parse_ab(said, self.requests)
        unit = f"requests/s of {self.requests}, {CONCURRENCY} at once"
        return WorkloadSample(unit, throughput, took_s, spread)
