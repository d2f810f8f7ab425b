# SPDX-License-Identifier: Apache-2.0
"""The command line: one small module per verb, imported only when it is used.

A verb builds objects from its options and runs them; it holds no logic.
"""

from __future__ import annotations

from observer.cli.group import VerbGroup

__all__ = ["VERBS", "main"]

VERBS = {
    "doctor": "observer.cli.doctor:doctor",
    "testbed": "observer.cli.testbed:testbed",
}

main = VerbGroup(VERBS)
