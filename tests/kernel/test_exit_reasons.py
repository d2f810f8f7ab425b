# SPDX-License-Identifier: Apache-2.0
"""What `exit_reasons.h` takes for whose exit, against the kernel's own two headers."""

import re
import subprocess

import pytest

from observer.kernel.exits import is_triple_fault
from observer.testbed.nested import checkout

HEADER = checkout() / "bpf/exit_reasons.h"
PROGRAM = """
#include <stdio.h>
#include "exit_reasons.h"
int main(void)
{
	for (unsigned isa = ISA_VMX; isa <= ISA_SVM; isa++)
		for (unsigned n = 0; n < 0x1000; n++) {
			int host = exit_made_by_host(isa, n), halt = exit_is_halt(isa, n);
			int fall = exit_is_triple_fault(isa, n);
			printf("%u %u %d %d %d\\n", isa, n, host, halt, fall);
		}
}
"""
# An interrupt or a timer of the host ended the guest's turn, an interrupt for the guest
# waited to be injected, or the guest only spun.
HOST_MADE = {
    "svm": {"INTR", "NMI", "SMI", "INIT", "VINTR", "PAUSE"},
    "vmx": {
        *("EXCEPTION_NMI", "EXTERNAL_INTERRUPT", "INIT_SIGNAL", "INTERRUPT_WINDOW"),
        *("NMI_WINDOW", "PAUSE_INSTRUCTION", "PREEMPTION_TIMER", "NOTIFY"),
    },
}
ISA = {"vmx": 1, "svm": 2}  # KVM_ISA_VMX and KVM_ISA_SVM of arch/x86/kvm/trace.h
PREFIX = {"svm": "SVM_EXIT_", "vmx": "EXIT_REASON_"}


def macros(text, *options):
    argv = ["gcc", "-E", "-dM", "-P", *options, "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
    return dict(re.findall(r"^#define (\w+) (\S.*)$", done.stdout, re.MULTILINE))


def reasons(found, prefix):
    """Names, without their prefix, to numbers; only what is a plain number."""
    return {
        name.removeprefix(prefix): int(value, 0)
        for name, value in found.items()
        if name.startswith(prefix) and re.fullmatch(r"0x[0-9a-f]+|\d+", value)
    }


def kernels(isa):
    return reasons(macros(f"#include <asm/{isa}.h>\n"), PREFIX[isa])


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What our header says of every number: (by the host, a halt, a triple fault)."""
    folder = tmp_path_factory.mktemp("exits")
    program = folder / "exits"
    argv = ["gcc", "-Wall", f"-I{HEADER.parent}", "-x", "c", "-", "-o", str(program)]
    subprocess.run(argv, input=PROGRAM, text=True, check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    lines = (map(int, line.split()) for line in said.splitlines())
    return {(isa, reason): tuple(said) for isa, reason, *said in lines}


@pytest.mark.parametrize("isa", ["svm", "vmx"])
def test_numbers_are_those_of_the_kernel(isa):
    """Every reason that our header names has the kernel's number."""
    ours = reasons(macros(HEADER.read_text()), PREFIX[isa])
    theirs = kernels(isa)

    assert len(ours) >= len(HOST_MADE[isa])
    assert ours == {name: theirs[name] for name in ours}


@pytest.mark.parametrize("isa", ["svm", "vmx"])
def test_every_reason_of_the_kernel_is_the_guests_or_the_hosts(isa, answers):
    """Over all reasons that the kernel's header has, by their names."""
    theirs = {n: r for n, r in kernels(isa).items() if r < 0x1000}

    said = {name: answers[ISA[isa], reason] for name, reason in theirs.items()}

    assert len(theirs) > 60
    assert {name for name, (host, *_) in said.items() if host} == HOST_MADE[isa]
    assert {name for name, (_, halt, _) in said.items() if halt} == {"HLT"}


@pytest.mark.parametrize(
    ("isa", "name"), [("svm", "SHUTDOWN"), ("vmx", "TRIPLE_FAULT")]
)
def test_a_triple_fault_is_one_reason_of_many(isa, name, answers):
    """By the kernel's name for it; on VMX the high half of the word has flags."""
    theirs = kernels(isa)

    found = {n for n, r in theirs.items() if is_triple_fault(ISA[isa], r)}
    bpf = {n for n, r in theirs.items() if r < 0x1000 and answers[ISA[isa], r][2]}

    assert found == bpf == {name}
    assert is_triple_fault(ISA["vmx"], kernels("vmx")["TRIPLE_FAULT"] | 1 << 31)
    assert not is_triple_fault(0, theirs[name])


def test_nothing_unknown_is_taken_for_the_hosts(answers):
    """A number that no header names is an exit of the guest's: it does not accuse."""
    for isa, number in ISA.items():
        known = set(kernels(isa).values())
        unknown = [r for r in range(0x1000) if r not in known]
        assert not any(any(answers[number, r]) for r in unknown)
