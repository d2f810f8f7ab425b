# SPDX-License-Identifier: Apache-2.0
"""What a comparator counts as a vCPU's own exit is what our programs do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from observer.experiment.exit_counter import OWN, vcpu_threads
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from pathlib import Path

HEADER = checkout() / "bpf/exit_reasons.h"


def _is_own(isa: int, reason: int) -> bool:
    """The kernel's filter, which Python can read as well."""
    words = OWN.replace("&&", "and").replace("||", "or")
    return bool(eval(words, {"isa": isa, "exit_reason": reason}))  # noqa: S307 - ours


def test_exits_of_the_host_are_those_of_our_programs() -> None:
    """Of Intel by name, of AMD by their numbers."""
    text = HEADER.read_text()
    numbers = dict(re.findall(r"#define (\w+)\s+(0x[0-9a-f]+|\d+)", text))
    body = text[text.index("exit_made_by_host") :]
    vmx = {int(numbers[name], 0) for name in re.findall(r"case (\w+):", body)}
    first, last, pause = (
        int(numbers[f"SVM_EXIT_{name}"], 0) for name in ("INTR", "VINTR", "PAUSE")
    )
    svm = {*range(first, last + 1), pause}

    assert {r for r in range(256) if not _is_own(1, r)} == vmx
    assert {r for r in range(256) if not _is_own(2, r)} == svm


def test_vcpus_are_known_by_the_names_of_their_threads(tmp_path: Path) -> None:
    """Whatever else the VMM has."""
    for k, name in enumerate(("qemu", "CPU 0/KVM", "CPU 1/KVM", "kvm-pit/1")):
        folder = tmp_path / f"7/task/{70 + k}"
        folder.mkdir(parents=True)
        (folder / "comm").write_text(f"{name}\n")

    assert sorted(vcpu_threads(7, tmp_path)) == [(0, 71), (1, 72)]
    assert not list(vcpu_threads(8, tmp_path))
