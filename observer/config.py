# SPDX-License-Identifier: Apache-2.0
"""Policy in TOML: limits, gates, where things lie.  Every key has a default.

[limits]                 # how late is late; durations are "20ms", "0.5s", "2m"
backend = "20ms"
[paths]
runtime = "/run/observer"
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from observer.clock import MS, SECOND
from observer.errors import ConfigError

__all__ = ["DEFAULT_PATH", "Limits", "Paths", "Policy", "duration_ns", "load"]

DEFAULT_PATH = Path("/etc/observer/observer.toml")
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
    part: int = 20 * MS  # a part of a service owes work and does none
    called: int = 50 * MS  # a guest that was called gives no sign
    validity: int = 500 * MS  # a sign of life is good for so long
    answer: int = 50 * MS  # a guest that was asked answers
    boot: int = 120 * SECOND  # a guest may boot without a sign
    qmp: int = 200 * MS  # a VMM answers QMP


class Paths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the daemon keeps what."""

    runtime: str = "/run/observer"
    bpffs: str = "/sys/fs/bpf/observer"


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that an operator may decide."""

    limits: Limits = Limits()
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


def _durations(path: Path, table: Any) -> dict[str, int]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: limits must be a table, written [limits].")
    found = {}
    for key, value in table.items():
        if not isinstance(value, str):
            raise ConfigError(
                f"{path}: limits.{key} is {value!r}, a number without a unit: "
                f'write it as text, e.g. "{value}ms".'
            )
        try:
            found[key] = duration_ns(value)
        except ValueError as e:
            raise ConfigError(f"{path}: limits.{key}: {e}.") from e
        if not found[key]:
            raise ConfigError(f"{path}: limits.{key} is 0: give it some time.")
    return found


def load(path: Path | None) -> Policy:
    """Read a policy; without a path the default file, if there is one.

    Raises `ConfigError` naming file and key.
    """
    source = path or DEFAULT_PATH
    if path is None and not source.exists():
        return Policy()
    try:
        raw = tomllib.loads(source.read_text())
    except OSError as e:
        raise ConfigError(
            f"{source} cannot be read ({e.strerror}): check --config."
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{source} is not TOML: {e}.") from e
    if "limits" in raw:
        raw["limits"] = _durations(source, raw["limits"])
    try:
        return msgspec.convert(raw, Policy)
    except msgspec.ValidationError as e:
        text = str(e).replace(" - at `$.", " at `").rstrip("`")
        raise ConfigError(f"{source}: {text}: see `observer config show`.") from e
