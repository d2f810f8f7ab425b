# SPDX-License-Identifier: Apache-2.0
"""Runs one command as root in a nested KVM host and gives back its exit status.

The status counts only where the nested kernel had nothing to complain of: see
`splats`. Of all that the command writes, only what lies in the checkout stays.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from observer.errors import (
    EmulatorFaultError,
    KernelSplatError,
    NestedHostError,
    UsageError,
)
from observer.testbed import accelerator, initramfs, programs
from observer.testbed.emulator import INSTALLED, emulator
from observer.testbed.emulator_fault import fault_in_console
from observer.testbed.kernel import fetch
from observer.testbed.machine import Machine
from observer.testbed.protocol import Job
from observer.testbed.session import Limits, Session
from observer.testbed.splats import find_splats, first_splat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Command",
    "NestedRun",
    "Spec",
    "again_on_fault",
    "checkout",
    "passed_env",
    "run_nested",
    "silent",
]

T = TypeVar("T")
KEPT_LOGS = 30
EMULATOR_TRIES = 3
_PASSED = (
    "CI",
    "COLUMNS",
    "FORCE_COLOR",
    "LANG",
    "LC_ALL",
    "NO_COLOR",
    "PATH",
    "TERM",
    "TZ",
)
_PASSED_PREFIXES = ("OBSERVER_", "PYTEST_")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Spec:
    """Which nested host to run."""

    kernel: str = "debian-12"
    cpus: int = 2
    memory: str = "6G"
    vhost: bool = True
    """Load vhost_net before the command runs."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Command:
    """What to run there, and which descriptors its output goes to."""

    argv: Sequence[str]
    stdout: int = 1
    stderr: int = 2
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """The caller's; the command gets some of it: see `passed_env`."""


@dataclass(frozen=True)
class NestedRun:
    """How a command ended in a nested host."""

    status: int
    """Its exit status; negative is the signal that ended it."""
    console: Path
    boot_s: float
    kvm: bool

    @property
    def exit_code(self) -> int:
        """The status as a shell gives it."""
        return 128 - self.status if self.status < 0 else self.status


def silent(_: str) -> None:
    """A listener to progress who does not care."""


def checkout() -> Path:
    """The checkout that this package was imported from."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").exists():
        raise UsageError(
            "the testbed runs a checkout of the project, and this observer was "
            f"installed into {root}: run it from a checkout, after `make`."
        )
    return root


def passed_env(env: Mapping[str, str], root: Path) -> dict[str, str]:
    """The part of the caller's environment that the command gets."""
    passed = {
        name: value
        for name, value in env.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    path = f"{root}/.venv/bin:{env.get('PATH', _SYSTEM_PATH)}"
    # Root needs sbin, also if the caller did without.
    ways = dict.fromkeys([*path.split(":"), *_SYSTEM_PATH.split(":")])
    return {
        "LANG": "C.UTF-8",
        **passed,
        "PATH": ":".join(filter(None, ways)),
        "HOME": "/run/home",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/sh",
        "OBSERVER_NESTED": "1",
    }


def _modules(cpuinfo_vendor: str, *, vhost: bool) -> tuple[str, ...]:
    kvm = "kvm_intel" if cpuinfo_vendor == "GenuineIntel" else "kvm_amd"
    return (kvm, "tun", *(("vhost_net",) if vhost else ()))


def _vendor(*, kvm: bool) -> str:
    """The CPU's maker as the nested host sees it; the emulated CPU is an AMD."""
    if not kvm:
        return "AuthenticAMD"
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(": ")[1] for line in lines if line.startswith("vendor_id"))


def _log_folder(build: Path) -> Path:
    """A new folder for this run's logs; the oldest ones make room."""
    logs = build / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for old in sorted(logs.iterdir())[:-KEPT_LOGS]:
        shutil.rmtree(old, ignore_errors=True)
    folder = logs / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    return folder


def run_nested(
    spec: Spec,
    command: Command,
    root: Path,
    say: Callable[[str], None] = silent,
) -> NestedRun:
    """Run the command to its end, with the checkout at `root` shared.

    Where the emulator fails, it is started again in a new nested host.
    Raises KernelSplatError where the nested kernel complained, EmulatorFaultError where
    that was QEMU's doing each time, NestedHostError where the nested host did not come
    up or broke, NestedHostDeadlineError after `limits`.
    """
    programs.require(programs.TO_BOOT)
    build = root / "build/testbed"
    kernel = fetch(spec.kernel, build, say)
    kvm = accelerator.probe(kernel.image, build / "kvm.json").kvm
    paths = initramfs.Paths(
        checkout=root,
        modules=kernel.modules_of(kernel.release),
        name=f"nested-{kernel.name}",
        cached=(".venv", str(kernel.root.relative_to(root))),
    )
    program = INSTALLED if kvm else emulator(build, say)

    def once() -> NestedRun:
        logs = _log_folder(build)
        first_root = logs / "initramfs"
        first_root.write_bytes(initramfs.build(kernel, paths))
        machine = Machine(
            *(kernel.image, first_root, root, spec.cpus, spec.memory),
            *(kvm, program),
        )
        job = Job(
            argv=tuple(command.argv),
            env=passed_env(command.env, root),
            cwd=str(root),
            modules=_modules(_vendor(kvm=kvm), vhost=spec.vhost),
            cpus=machine.free_cpus,
        )
        try:
            with Session(machine, logs, spec.limits) as session:
                status = _run_and_judge(session, job, command, kvm=kvm)
        finally:
            first_root.unlink()
        return NestedRun(status, session.console, session.boot_s, kvm)

    return again_on_fault(once, say)


def again_on_fault(run: Callable[[], T], say: Callable[[str], None]) -> T:
    """Run it until the emulator does not fail, a few times at most."""
    for _ in range(EMULATOR_TRIES - 1):
        try:
            return run()
        except EmulatorFaultError as fault:
            say(f"{fault.message} Once more, from the start.")
    return run()


def _run_and_judge(session: Session, job: Job, command: Command, *, kvm: bool) -> int:
    """The command's status, unless the nested kernel had something to complain of."""
    broke: NestedHostError | None = None
    status = 0
    try:
        status = session.run(job, command.stdout, command.stderr)
        otherwise = f"the command itself ended with {status}"
    except NestedHostError as error:
        broke, otherwise = error, error.message
    said = session.console.read_text(errors="replace")
    splats = find_splats(said)
    if (splats or broke) and not kvm:
        _raise_for_emulator(session, said)
    if session.reset_in_boot and not splats and not kvm:
        raise EmulatorFaultError(
            "the emulator failed: its machine reset in its boot, without a word and "
            f"before any program ran (see {session.console})."
        )
    if not kvm and find_splats(session.said_in_boot()):
        raise EmulatorFaultError(
            "the emulator failed: its kernel complained in its boot, before any "
            f"program ran (see {session.console})."
        )
    if splats:
        raise KernelSplatError(
            f"the nested kernel complained {len(splats)} times, see {session.console} "
            f"({otherwise}); from the first on:\n{first_splat(said)}"
        )
    if broke:
        raise broke
    return status


def _raise_for_emulator(session: Session, said: str) -> None:
    if why := fault_in_console(said) or session.why_silent():
        raise EmulatorFaultError(f"the emulator failed: {why} (see {session.console}).")
