# SPDX-License-Identifier: Apache-2.0
"""All errors that a user may see; each is one sentence that names the next step.

    ObserverError            exit status 1
    ├── HostError            the host lacks something: root, KVM, BTF, libbpf, bcc
    ├── ProgramError         a program that we started failed
    ├── DeadlineError        something outside did not answer in time
    ├── UnfitError           a means of repair that is none for its subject
    ├── NestedHostError      125: the testbed's nested host did not come up, or broke
    │   ├── NestedHostDeadlineError  124: its command did not end in time
    │   └── EmulatorFaultError   122: the emulator under it failed, nothing of ours
    ├── KernelSplatError     123: the nested kernel complained about itself
    └── UsageError           exit status 2: the caller asked for the impossible
        └── ConfigError      a configuration file, with file and key named

They live apart from the code that raises them so that no import loop arises.
Catch them only where something is done about it; the command line turns those
that arrive there into one line on stderr.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ConfigError",
    "DeadlineError",
    "EmulatorFaultError",
    "HostError",
    "KernelSplatError",
    "NestedHostDeadlineError",
    "NestedHostError",
    "ObserverError",
    "ProgramError",
    "UnfitError",
    "UsageError",
]


class ObserverError(Exception):
    """Something went wrong; `message` says what, and what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class HostError(ObserverError):
    """This host lacks something that the command needs."""


class ProgramError(ObserverError):
    """A program that we started failed."""


class DeadlineError(ObserverError):
    """Something outside did not answer before its deadline."""


class UnfitError(ObserverError):
    """A means of repair that can do nothing for its subject; the next one may."""


class NestedHostError(ObserverError):
    """The nested host did not come up, or broke; the status is not the command's."""

    exit_code: ClassVar[int] = 125


class NestedHostDeadlineError(NestedHostError):
    """The command in the nested host did not end in time, as `timeout` says it."""

    exit_code: ClassVar[int] = 124


class EmulatorFaultError(NestedHostError):
    """The emulator under the nested host failed, whatever the command said."""

    exit_code: ClassVar[int] = 122


class KernelSplatError(ObserverError):
    """The nested kernel complained about itself, whatever the command said."""

    exit_code: ClassVar[int] = 123


class UsageError(ObserverError):
    """The command cannot be carried out as it was given."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """A configuration file is wrong; the message names the file and the key."""
