# SPDX-License-Identifier: Apache-2.0
"""Hears that a guest's kernel told its panic device; see README.md."""

from __future__ import annotations

from observer.experiment.comparator import ends_on_sigterm
from observer.experiment.qmp_events import hear
from observer.model import VerdictKind

__all__: list[str] = []

if __name__ == "__main__":
    ends_on_sigterm()
    hear({"GUEST_PANICKED": VerdictKind.GUEST_HUNG})
