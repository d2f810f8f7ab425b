# SPDX-License-Identifier: Apache-2.0
"""Nobody takes care: a fault stays until somebody from outside clears it away.

The services are kept, on SIGUSR1 they begin anew, and nothing is parked meanwhile.
"""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import ExitStack

from observer.experiment.comparator import ends_on_sigterm, say_ready
from observer.experiment.faults import CLEAR
from observer.experiment.unparked import begin_anew, unparked
from observer.model import Result

__all__: list[str] = []


def main() -> None:
    """Keep the services that are named until SIGTERM."""
    ends_on_sigterm()
    heard, hears = socket.socketpair()
    hears.setblocking(False)  # noqa: FBT003 - its only parameter
    # Not blocked and waited for: QEMU would inherit that, and kicks its vCPUs by it.
    signal.signal(CLEAR, lambda *_: None)
    signal.set_wakeup_fd(hears.fileno())
    services = sys.argv[1:]
    with ExitStack() as stack:
        vms = {name: stack.enter_context(unparked(name)) for name in services}
        say_ready()
        while True:
            heard.recv(1)
            for name, vm in vms.items():
                begin_anew(name, vm, Result.RECOVERED, "cleared away from outside")


if __name__ == "__main__":
    main()
