# SPDX-License-Identifier: Apache-2.0
"""The host's side of the watchdogs that live in guests: it says what they report.

    python experiments/in_guest/in_guest.py [--services]

It looks at nothing by itself: a guest that can no longer report is not missed.
"""

from __future__ import annotations

import argparse

from observer.experiment.hearing import guests_up, hear, services_up

__all__ = ["main"]

INSTANCE = "observer-in-guest"


def main() -> None:
    """Hear Linux guests, or service VMs, until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--services", action="store_true", help="hear service VMs, not Linux guests"
    )
    hear(INSTANCE, services_up if parser.parse_args().services else guests_up)


if __name__ == "__main__":
    main()
