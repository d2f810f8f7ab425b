# SPDX-License-Identifier: Apache-2.0
"""Where a demo, soak or bench runs: here if this is a KVM host, else in the testbed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from observer.testbed import accelerator
from observer.testbed.kernel import fetch
from observer.testbed.nested import Command, Spec, checkout, run_nested
from observer.testbed.session import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["guest_image_folder", "is_kvm_host", "run_in_testbed"]


def is_kvm_host(say: Callable[[str], None]) -> bool:
    """Root on a host whose KVM runs Linux, tried with a small guest."""
    if os.geteuid() != 0 or not Path("/dev/kvm").exists():
        return False
    build = checkout() / "build/testbed"
    kernel = fetch("debian-12", build, say)
    return accelerator.probe(kernel.image, build / "kvm.json").kvm


def run_in_testbed(
    arguments: Sequence[str],
    kernel: str,
    seconds: float,
    say: Callable[[str], None],
    memory: str | None = None,
) -> int:
    """Run `observer ARGUMENTS --here` in a nested host; its exit status."""
    say(f"this is no KVM host, or you are not root: entering a nested one ({kernel})")
    root = checkout()
    observer = str(root / ".venv/bin/observer")
    command = Command((observer, *arguments, "--here"))
    spec = Spec(kernel, memory=memory or Spec.memory, limits=Limits(total_s=seconds))
    return run_nested(spec, command, root, say).exit_code


def guest_image_folder() -> Path:
    """Where guests are built."""
    return checkout() / "build/guests"
