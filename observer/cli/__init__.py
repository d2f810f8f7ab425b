# SPDX-License-Identifier: Apache-2.0
"""The command line: one small module per verb, imported only when it is used.

A verb builds objects from its options and runs them; it holds no logic.
"""

from __future__ import annotations

from observer.cli.group import VerbGroup

__all__ = ["VERBS", "main"]

VERBS = {
    "run": "observer.cli.run:run",
    "status": "observer.cli.see:status",
    "top": "observer.cli.see:top",
    "events": "observer.cli.see:events",
    "check": "observer.cli.see:check",
    "inhibit": "observer.cli.gates:inhibit",
    "resume": "observer.cli.gates:resume",
    "repair": "observer.cli.repair:repair",
    "config": "observer.cli.config:config",
    "doctor": "observer.cli.doctor:doctor",
    "demo": "observer.cli.demo:demo",
    "soak": "observer.cli.demo:soak",
    "bench": "observer.cli.bench:bench",
    "record": "observer.cli.replay:record",
    "replay": "observer.cli.replay:replay",
    "experiment": "observer.cli.experiment:experiment",
    "report": "observer.cli.report:report",
    "guest": "observer.cli.guest:guest",
    "service": "observer.cli.service:service",
    "inject": "observer.cli.inject:inject",
    "testbed": "observer.cli.testbed:testbed",
}

main = VerbGroup(VERBS)
