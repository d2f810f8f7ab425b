# SPDX-License-Identifier: Apache-2.0
"""Policy in TOML: limits, repair, who is told, where what lies.  Each has a default.

[limits]                 # how late is late; durations are "20ms", "0.5s", "2m"
backend = "20ms"
[repair]                 # see observer/loops/policy.py
care = ["net"]
[escalate]               # see observer/escalate/policy.py
webhook = ["http://127.0.0.1:8080/observer"]
[paths]
runtime = "/run/observer"

Files in conf.d come after observer.toml, in the order of their names; the last says.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from observer.clock import MS, SECOND
from observer.errors import ConfigError
from observer.escalate.policy import EscalatePolicy
from observer.loops.policy import RepairPolicy

__all__ = ["DEFAULT_PATH", "Limits", "Paths", "Policy", "duration_ns", "load"]

DEFAULT_PATH = Path("/etc/observer/observer.toml")
_DURATIONS = {"deadline", "cool_down", "window"}  # besides all of [limits]
_UNITS_NS = {"us": 1000, "ms": MS, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}


def duration_ns(text: str) -> int:
    """Nanoseconds of "20ms", "1.5s", "2m"; ValueError tells the units."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", text.strip())
    if not match:
        raise ValueError(f'"{text}" is no duration: write e.g. "20ms", "1.5s" or "2m"')
    return round(float(match[1]) * _UNITS_NS[match[2]])


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long each debtor may owe, in ns; the table is in docs/architecture.md."""

    vcpu: int = 100 * MS  # CPU time of a vCPU without an exit of its own
    backend: int = 20 * MS  # a kick not served, waiting for a CPU taken out
    starved: int = 30 * MS  # a back end waits for a CPU
    service: int = 15 * MS  # a service VM gives no sign, waiting for a CPU taken out
    part: int = 4 * MS  # a part of a service owes work and does none: two beats
    called: int = 50 * MS  # a guest that was called gives no sign
    validity: int = 500 * MS  # a sign of life is good for so long
    answer: int = 50 * MS  # a guest that was asked answers
    boot: int = 120 * SECOND  # a guest may boot without a sign
    qmp: int = 200 * MS  # a VMM answers QMP


class Paths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the daemon keeps what."""

    runtime: str = "/run/observer"
    state: str = "/var/lib/observer"
    bpffs: str = "/sys/fs/bpf/observer"


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that an operator may decide."""

    limits: Limits = Limits()
    repair: RepairPolicy = RepairPolicy()
    escalate: EscalatePolicy = EscalatePolicy()
    paths: Paths = Paths()
    # members of this group may read the socket; root may do all
    group: str | None = None

    def knobs(self) -> dict[str, int]:
        """Name -> value of the `const volatile` variables in `bpf/`."""
        limits = self.limits
        return {
            "vcpu_limit_ns": limits.vcpu,
            "backend_limit_ns": limits.backend,
            "starved_limit_ns": limits.starved,
            "service_limit_ns": limits.service,
            "part_limit_ns": limits.part,
            "called_ns": limits.called,
            "validity_ns": limits.validity,
            "answer_ns": limits.answer,
        }


def _ns(path: Path, key: str, value: Any) -> int:
    if not isinstance(value, str):
        raise ConfigError(
            f"{path}: {key} is {value!r}, a number without a unit: "
            f'write it as text, e.g. "{value}ms".'
        )
    try:
        found = duration_ns(value)
    except ValueError as e:
        raise ConfigError(f"{path}: {key}: {e}.") from e
    if not found:
        raise ConfigError(f"{path}: {key} is 0: give it some time.")
    return found


def _durations(path: Path, at: str, value: Any) -> Any:
    """The same with all that is a duration in ns, at whatever depth."""
    if isinstance(value, list):
        return [_durations(path, at, item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        inner = f"{at}.{key}" if at else key
        is_duration = at == "limits" or key in _DURATIONS
        found[key] = (_ns if is_duration else _durations)(path, inner, item)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as e:
        raise ConfigError(
            f"{path} cannot be read ({e.strerror}): check --config."
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not TOML: {e}.") from e
    if "limits" in raw and not isinstance(raw["limits"], dict):
        raise ConfigError(f"{path}: limits must be a table, written [limits].")
    found: dict[str, Any] = _durations(path, "", raw)
    return found


def _merged(first: Any, then: Any) -> Any:
    if not isinstance(first, dict) or not isinstance(then, dict):
        return then
    return first | {k: _merged(first.get(k, {}), v) for k, v in then.items()}


def _policy(path: Path, raw: dict[str, Any]) -> Policy:
    try:
        policy = msgspec.convert(raw, Policy)
    except msgspec.ValidationError as e:
        text = str(e).replace(" - at `$.", " at `").rstrip("`")
        raise ConfigError(f"{path}: {text}: see `observer config show`.") from e
    if wrong := policy.repair.wrong():
        raise ConfigError(f"{path}: repair.{wrong}.")
    if wrong := policy.escalate.wrong():
        raise ConfigError(f"{path}: escalate.{wrong}.")
    return policy


def load(path: Path | None, default: Path = DEFAULT_PATH) -> Policy:
    """Read a policy; without a path the default file and its conf.d, if there are any.

    Raises `ConfigError` naming file and key.
    """
    if path is not None:
        return _policy(path, _read(path))
    files = [default] if default.exists() else []
    files += sorted((default.parent / "conf.d").glob("*.toml"))
    policy = Policy()
    raw: dict[str, Any] = {}
    for file in files:  # the one that makes it unsound is named
        raw = _merged(raw, _read(file))
        policy = _policy(file, raw)
    return policy
