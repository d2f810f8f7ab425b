# SPDX-License-Identifier: Apache-2.0
"""Which exits the comparators count: a vCPU's own, and those to its devices."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from observer.experiment.exit_counter import EXCHANGE, OWN, vcpu_threads
from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from pathlib import Path

HEADER = checkout() / "bpf/exit_reasons.h"
VMX, SVM = 1, 2
DOORBELL, END_OF_INTERRUPT, MEMORY = 0xC000F000, 0xFEE000B0, 0x2C1000


def _passes(only: str, isa: int, reason: int, where: int = 0) -> bool:
    """The kernel's filter, which Python can read as well."""
    words = only.replace("&&", "and").replace("||", "or")
    fields = {"isa": isa, "exit_reason": reason, "info2": where}
    return bool(eval(words, fields))  # noqa: S307 - ours


def _numbers(text: str) -> dict[str, int]:
    found = re.findall(r"#define (\w+)\s+(0x[0-9a-f]+|\d+)", text)
    return {name: int(number, 0) for name, number in found}


def _kernels(isa: str) -> dict[str, int]:
    """What its own header calls the exits."""
    argv = ["gcc", "-E", "-dM", "-"]
    asked = f"#include <asm/{isa}.h>\n"
    done = subprocess.run(argv, input=asked, capture_output=True, text=True, check=True)
    return _numbers(done.stdout)


def test_exits_of_the_host_are_those_of_our_programs() -> None:
    """Of Intel by name, of AMD by their numbers."""
    text = HEADER.read_text()
    numbers = _numbers(text)
    body = text[text.index("exit_made_by_host") :]
    vmx = {numbers[name] for name in re.findall(r"case (\w+):", body)}
    first, last, pause = (
        numbers[f"SVM_EXIT_{name}"] for name in ("INTR", "VINTR", "PAUSE")
    )
    svm = {*range(first, last + 1), pause}

    assert {r for r in range(256) if not _passes(OWN, VMX, r)} == vmx
    assert {r for r in range(256) if not _passes(OWN, SVM, r)} == svm


def test_exchanges_are_exits_for_ports_and_mmio() -> None:
    """No halt, no hypercall, no write of a register; by the kernel's own numbers."""
    vmx = _kernels("vmx")
    svm = _kernels("svm")
    wanted_vmx = {
        vmx[f"EXIT_REASON_{name}"]
        for name in ("IO_INSTRUCTION", "EPT_VIOLATION", "EPT_MISCONFIG")
    }
    wanted_svm = {svm["SVM_EXIT_IOIO"], svm["SVM_EXIT_NPF"]}

    assert {r for r in range(2048) if _passes(EXCHANGE, VMX, r)} == wanted_vmx
    assert {r for r in range(2048) if _passes(EXCHANGE, SVM, r, DOORBELL)} == wanted_svm


@pytest.mark.parametrize("where", [END_OF_INTERRUPT, MEMORY])
def test_who_only_serves_its_timer_or_touches_memory_exchanges_nothing(
    where: int,
) -> None:
    """Both leave the guest of an AMD as its doorbells do."""
    npf = _kernels("svm")["SVM_EXIT_NPF"]
    assert _passes(EXCHANGE, SVM, npf, DOORBELL)
    assert not _passes(EXCHANGE, SVM, npf, where)


def test_vcpus_are_known_by_the_names_of_their_threads(tmp_path: Path) -> None:
    """Whatever else the VMM has."""
    for k, name in enumerate(("qemu", "CPU 0/KVM", "CPU 1/KVM", "kvm-pit/1")):
        folder = tmp_path / f"7/task/{70 + k}"
        folder.mkdir(parents=True)
        (folder / "comm").write_text(f"{name}\n")

    assert sorted(vcpu_threads(7, tmp_path)) == [(0, 71), (1, 72)]
    assert not list(vcpu_threads(8, tmp_path))
