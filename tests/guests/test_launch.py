# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.errors import UsageError
from observer.guests.images import GuestImage
from observer.guests.launch import Files, GuestSpec, disk_command, qemu_command

IMAGE = GuestImage("/boot/vmlinuz", "/boot/initrd")
FILES = Files(Path("/run/a"))


def _after(argv, option):
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def test_the_guest_is_named_as_an_inventory_expects_it():
    """The name is in QEMU's own command line, and threads bear names."""
    argv = qemu_command(GuestSpec("a"), FILES, IMAGE)

    assert _after(argv, "-name") == ["guest=a,debug-threads=on"]


def test_vmm_and_back_end_meet_at_the_same_socket():
    """QEMU reconnects by itself to the disk's back end after its restart."""
    spec = GuestSpec("a")
    qemu = qemu_command(spec, FILES, IMAGE)
    (export,) = _after(disk_command(spec, FILES), "--export")

    (disk,) = (c for c in _after(qemu, "-chardev") if "id=vub" in c)

    assert "path=/run/a/disk.sock,reconnect=1" in disk
    assert "addr.path=/run/a/disk.sock" in export


def test_memory_is_shared_with_the_back_end():
    """Without it vhost-user could not see the rings."""
    argv = qemu_command(GuestSpec("a", memory_mib=256), FILES, IMAGE)

    assert _after(argv, "-object") == ["memory-backend-memfd,id=ram,size=256M,share=on"]


def test_the_serial_port_is_never_a_terminal():
    """A serial port that nobody reads stops the whole VMM."""
    argv = qemu_command(GuestSpec("a"), FILES, IMAGE)

    assert _after(argv, "-serial") == ["file:/run/a/console.log", "chardev:ctl"]
    assert "stdio" not in " ".join(argv)


def test_both_ends_of_the_network_agree():
    """The guest is told its own address and the host's."""
    spec = GuestSpec("a", subnet=7)
    (arguments,) = _after(qemu_command(spec, FILES, IMAGE), "-append")

    assert "guest.address=10.123.7.2/24" in arguments
    assert f"guest.peer={spec.host_address}" in arguments


@pytest.mark.parametrize("name", ["", "a/b", "a,b", "a b", "twelve-chars"])
def test_a_name_that_no_interface_could_bear_is_refused(name):
    """It would otherwise fail late, or become part of another option."""
    with pytest.raises(UsageError):
        GuestSpec(name)


@pytest.mark.parametrize("subnet", [0, 255])
def test_a_subnet_outside_of_its_byte_is_refused(subnet):
    """Each guest has one of 254 networks."""
    with pytest.raises(UsageError):
        GuestSpec("a", subnet=subnet)
