# SPDX-License-Identifier: Apache-2.0
import socket
import subprocess
from pathlib import Path

import pytest

from observer.testbed.emulator_fault import (
    fault_in_console,
    sleeping_cpus,
    why_silent,
)

BEHIND_VMRUN = """\
[  147.097536] BUG: TASK stack guard page was hit at 0000000016cdc9b9
[  147.109351]  asm_exc_general_protection+0x22/0x30
[  147.109359] RIP: 0010:irqentry_enter+0x9/0x50
[  147.109482]  asm_sysvec_reschedule_ipi+0x16/0x20
[  147.109492] RIP: 0010:__svm_vcpu_run+0x9c/0x210 [kvm_amd]
[  147.110243]  svm_vcpu_enter_exit+0x4a/0x80 [kvm_amd]
"""
OVERFLOW = """\
[   50.411696] Kernel panic - not syncing: corrupted stack end detected inside scheduler
[   50.416488] CPU: 0 PID: 192 Comm: qemu-system-x86 Not tainted 6.1.0-56-amd64 #1
"""
DEAF_IN_GUEST = """\
[ 1695.294635] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[ 1695.295349] rcu: \t0-...0: (0 ticks this GP) idle=164c/1/0x4000000000000000 fqs=677
[ 1695.296714] Sending NMI from CPU 1 to CPUs 0:
[ 1695.298076] NMI backtrace for cpu 0
[ 1695.298381] CPU: 0 PID: 782 Comm: CPU 0/KVM Not tainted 6.1.0-56-amd64 #1
[ 1695.298850] RIP: 0010:svm_vcpu_run+0x234/0x720 [kvm_amd]
"""
OURS = """\
[   50.411696] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   50.416488] CPU: 0 PID: 192 Comm: CPU 0/KVM Not tainted 6.1.0-56-amd64 #1
[   50.416489] RIP: 0010:bpf_prog_8d2c_on_kvm_exit+0x9c/0x210
[   50.416490]  svm_vcpu_run+0x1cf/0x720 [kvm_amd]
"""
REGISTERS = """\
CPU#0
RIP=ffffffffb10e5fff RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1
CPU#1
RIP=ffffffffb10e5fff RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1
"""
PENDING = "ISR\t (none)\nIRR\t 236 251 253 \n\nAPR 0x00 TPR 0x10 LDR 0x00 PPR 0x10\n"
QUIET = "ISR\t (none)\nIRR\t (none)\n\nAPR 0x01 TPR 0x10 LDR 0x00 PPR 0x10\n"


@pytest.mark.parametrize("console", [BEHIND_VMRUN, OVERFLOW, DEAF_IN_GUEST])
def test_what_no_cpu_does_is_the_emulators(console: str) -> None:
    """Both ends of the same overflow, and a CPU that hears nothing, as seen."""
    assert fault_in_console(console)


def test_what_a_program_does_is_not() -> None:
    """An Oops in a program of ours, in the same thread, is not excused."""
    assert fault_in_console(OURS) is None


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        ("svm_vcpu_run+0x234", "bpf_prog_8d2c_on_kvm_exit+0x9c"),  # it spins there
        ("(0 ticks this GP)", "(5250 ticks this GP)"),  # interrupts do come
        ("for cpu 0", "for cpu 1"),  # another one that is asked too
    ],
)
def test_another_stall_is_not_excused(found: str, instead: str) -> None:
    """It may be a program of ours that keeps a CPU."""
    assert found in DEAF_IN_GUEST
    assert fault_in_console(DEAF_IN_GUEST.replace(found, instead)) is None


def test_a_halted_cpu_with_an_interrupt_does_not_sleep() -> None:
    """What was seen: IF set, HLT, three vectors in the IRR above the priority."""
    assert sleeping_cpus(REGISTERS, {0: PENDING, 1: QUIET}) == {0}


def test_it_may_sleep_with_interrupts_off_or_too_low() -> None:
    """A CPU that is stopped for good, or whose priority holds them back."""
    off = REGISTERS.replace("RFL=00000202", "RFL=00000002")
    low = PENDING.replace("PPR 0x10", "PPR 0xf0")

    assert sleeping_cpus(off, {0: PENDING, 1: PENDING}) == set()
    assert sleeping_cpus(REGISTERS, {0: low, 1: QUIET}) == set()


def test_a_real_monitor_is_asked(tmp_path: Path) -> None:
    """QEMU's words have the fields that are looked for, and are kept."""
    ours, theirs = socket.socketpair()
    argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-S", "-nodefaults"]
    argv += ["-display", "none", "-chardev", f"socket,id=m,fd={theirs.fileno()}"]
    argv += ["-mon", "chardev=m,mode=control"]
    log = tmp_path / "cpus.log"
    with ours, theirs, subprocess.Popen(argv, pass_fds=[theirs.fileno()]) as qemu:
        try:
            assert why_silent(ours, log) is None
        finally:
            qemu.kill()

    said = log.read_text()
    for field in ("HLT=0", "EFL=", "IRR", "PPR 0x00"):
        assert said.count(field) == 2, field
