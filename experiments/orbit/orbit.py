# SPDX-License-Identifier: Apache-2.0
"""The host's side of the observers that live beside servers in guests.

    python experiments/orbit/orbit.py

It says what they report, and looks at nothing by itself.
"""

from __future__ import annotations

from observer.experiment.hearing import guests_up, hear

__all__ = ["main"]

INSTANCE = "observer-orbit"


def main() -> None:
    """Hear Linux guests until SIGTERM."""
    hear(INSTANCE, guests_up)


if __name__ == "__main__":
    main()
