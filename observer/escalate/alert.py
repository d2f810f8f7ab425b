# SPDX-License-Identifier: Apache-2.0
"""An alert, and the letters that it makes: who gets which words.

Alertmanager's are those of its API v2 (api/v2/openapi.yaml of its sources), Masakari's
those of its API v1 (masakari/api/openstack/ha/schemas).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from observer.model import VerdictKind

if TYPE_CHECKING:
    from observer.escalate.policy import EscalatePolicy
    from observer.model import Verdict

__all__ = [
    "MASAKARI",
    "RESEND_SECONDS",
    "Alert",
    "Letter",
    "alert_of",
    "for_masakari",
    "is_for_masakari",
    "letters_of",
]

RESEND_SECONDS = 120.0
"""Alertmanager wants to hear of an alert again and again while it lasts."""
LASTS = timedelta(seconds=4 * RESEND_SECONDS)

MASAKARI = "masakari"
FAILED = {"event": "LIFECYCLE", "vir_domain_event": "STOPPED_FAILED"}
"""What Masakari's own instance monitor says of a QEMU that has failed; its engine acts
on hardly anything else (masakari/engine/instance_events.py)."""
RESTARTED = (
    VerdictKind.VMM_CRASHED,
    VerdictKind.VMM_STOPPED,
    VerdictKind.VMM_HUNG,
    VerdictKind.GUEST_HUNG,
    VerdictKind.VCPU_HUNG,
)
RESTART_SECONDS = 600.0
"""It restarts what it hears of: after so long that may be well again."""


class Alert(msgspec.Struct, frozen=True):
    """What is wrong, for somebody who knows nothing of it yet."""

    host: str
    vm: str
    subject: str
    kind: VerdictKind
    since: str
    evidence: str
    why: str
    """Why it is not repaired here."""
    ended: str | None = None
    uuid: str | None = None


class Letter(msgspec.Struct, frozen=True):
    """Words for one address: a URL to post them to, or a program to run on them.

    `masakari CLOUD` is a program of ours.
    """

    to: tuple[str, ...]
    body: str
    until: float | None = None
    """In seconds since 1970: afterwards it would do harm."""

    @property
    def is_post(self) -> bool:
        """Whether it goes by HTTP."""
        return self.to[0].startswith("http")


def alert_of(verdict: Verdict, why: str, host: str) -> Alert:
    """An alert about what a verdict says."""
    return Alert(
        host,
        verdict.vm,
        verdict.subject,
        verdict.kind,
        verdict.time,
        verdict.evidence,
        why,
        uuid=verdict.uuid,
    )


def _for_alertmanager(alert: Alert, now: datetime) -> str:
    labels = {
        "alertname": alert.kind,
        "vm": alert.vm,
        "subject": alert.subject,
        "instance": alert.host,
        "severity": "critical",
    }
    words = {
        "labels": labels,
        "annotations": {"summary": alert.evidence, "description": alert.why},
        "startsAt": alert.since,
        "endsAt": alert.ended or (now + LASTS).isoformat(),
    }
    return msgspec.json.encode([words]).decode()


def is_for_masakari(alert: Alert, policy: EscalatePolicy) -> bool:
    """Whether it is one that starting the instance again may end."""
    return policy.masakari is not None and alert.kind in RESTARTED


def for_masakari(alert: Alert, policy: EscalatePolicy) -> list[Letter]:
    """The letter to Masakari, always the same; none about what is no instance."""
    told = policy.masakari
    if told is None or alert.uuid is None or not is_for_masakari(alert, policy):
        return []
    words = {
        "type": "VM",
        "hostname": told.host or alert.host,
        "generated_time": alert.since,
        "payload": {"instance_uuid": alert.uuid, **FAILED},
    }
    until = datetime.fromisoformat(alert.since).timestamp() + RESTART_SECONDS
    return [Letter((MASAKARI, told.cloud), msgspec.json.encode(words).decode(), until)]


def letters_of(
    alert: Alert, policy: EscalatePolicy, now: datetime, *, again: bool = False
) -> list[Letter]:
    """A letter for each address; `again` only for those who want to hear it again."""
    now = now.astimezone(UTC)
    letters = [
        Letter((url.rstrip("/") + "/api/v2/alerts",), _for_alertmanager(alert, now))
        for url in policy.alertmanager
    ]
    if not again:
        body = msgspec.json.encode(alert).decode()
        letters += [Letter((url,), body) for url in policy.webhook]
        letters += [Letter(argv, body) for argv in policy.command]
    if not again and alert.ended is None:
        letters += for_masakari(alert, policy)
    return letters
