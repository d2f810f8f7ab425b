# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from observer.testbed.machine import Machine
from observer.testbed.protocol import CONTROL, MONITOR, STDERR, STDOUT

PORTS = {CONTROL: 5, STDOUT: 6, STDERR: 7}
SOCKETS = {**PORTS, MONITOR: 8}


def _machine(*, kvm: bool = False, checkout: str = "/src") -> Machine:
    paths = Path("/vmlinuz"), Path("/initramfs"), Path(checkout)
    return Machine(*paths, cpus=2, memory="6G", kvm=kvm)


def _argv(*, kvm: bool = False, checkout: str = "/src") -> list[str]:
    return _machine(kvm=kvm, checkout=checkout).argv(Path("/log"), SOCKETS)


def test_emulates_where_there_is_no_kvm() -> None:
    """The emulated CPU has svm: "max" is the one that does; copies are of 8 bytes."""
    cpu, *without = _argv()[_argv().index("-cpu") + 1].split(",")
    assert cpu == "max"
    assert set(without) == {"-erms", "-fsrm"}
    assert "kvm" not in _argv()


def test_uses_kvm_where_it_works() -> None:
    """With KVM the nested host sees this machine's CPU."""
    assert _argv(kvm=True)[_argv(kvm=True).index("-accel") :][:4] == [
        *("-accel", "kvm", "-cpu", "host")
    ]


def test_guests_keep_off_the_first_emulated_cpu() -> None:
    """It is there besides those that were asked for; a real one is like the others."""
    assert _argv()[_argv().index("-smp") + 1] == "3"
    assert _machine().free_cpus == (1, 2)
    assert _argv(kvm=True)[_argv(kvm=True).index("-smp") + 1] == "2"
    assert _machine(kvm=True).free_cpus == (0, 1)


def test_the_root_is_read_only_and_the_checkout_is_not() -> None:
    """Nothing but the checkout can be changed from inside."""
    shares = [value for value in _argv() if value.startswith("local,")]

    assert [("path=/," in s, "readonly=on" in s) for s in shares] == [
        (True, True),
        (False, False),
    ]


def test_commas_in_a_path_stay_in_the_path() -> None:
    """QEMU splits at single commas."""
    assert any("path=/a,,b,security_model" in value for value in _argv(checkout="/a,b"))


def test_each_port_has_its_own_socket() -> None:
    """The inherited descriptors are wired to the ports of the same name."""
    for port, fd in PORTS.items():
        assert f"socket,id={port},fd={fd}" in _argv()
        assert f"virtserialport,bus=ports.0,name={port},chardev={port}" in _argv()
