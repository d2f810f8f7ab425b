# SPDX-License-Identifier: Apache-2.0
"""Which command lines may be given again, and why others may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from observer.actuators.again import owner_of, why_no_reconnect, why_not_again
from observer.inventory.command_line import Parent

if TYPE_CHECKING:
    from observer.inventory.command_line import CommandLine


def why(line: CommandLine, **changed: Any) -> str | None:
    said = {"is_vmm": True, "vouched": False, "file_now": (1, 2), "parent_lives": True}
    said |= {key: changed.pop(key) for key in list(changed) if key in said}
    return why_not_again(msgspec.structs.replace(line, **changed), **said)


def with_words(line: CommandLine, *words: str, stdin: str = "/dev/null") -> str | None:
    return why(line, argv=(*line.argv, *words), stdin=stdin)


def test_an_orphan_whose_words_say_all_can(plain: CommandLine) -> None:
    """Sockets and files are named, so the next one can open them itself."""
    words = ("-chardev", "socket,id=qmp,path=/run/fd/qmp,server=on", "-daemonize")
    words += ("-netdev", "tap,id=n,ifname=tap0,script=no", "-serial", "file:/a/stdio")
    words += ("-S0", "-drive", "file=/a/fd.img", "-nographic")

    assert with_words(plain, *words) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-netdev", "tap,id=n,fd=30"), "handed descriptors"),
        (("-netdev", "tap,id=n,ifname=t,vhost=on,vhostfd=31"), "handed descriptors"),
        (("-netdev", "tap,fds=30:31,vhostfds=32:33"), "handed descriptors"),
        (("-netdev", '{"type":"tap","fd":"30"}'), "handed descriptors"),
        (("-add-fd", "set=1"), "handed descriptors"),
        (("--add-fd", "fd=3,set=1"), "handed descriptors"),
        (("-drive", "file=/dev/fdset/1"), "handed descriptors"),
        (("-kernel", "/proc/self/fd/9"), "handed descriptors"),
        (("-incoming", "tcp:0:4444"), "migrated to"),
        (("--incoming", "defer"), "migrated to"),
        (("-S",), "stopped"),
        (("-loadvm", "yesterday"), "snapshot"),
        (("-runas", "nobody"), "another user"),
        (("-run-with", "async-teardown=on,chroot=/x"), "changed its user or root"),
        (("-append", "\ufffd"), "not UTF-8"),
    ],
)
def test_what_was_handed_to_it_or_done_with_it_is_not_in_its_words(
    plain: CommandLine, words: tuple[str, ...], said: str
) -> None:
    """A guess would start another VM than the one that it was."""
    found = with_words(plain, *words)
    assert found is not None
    assert said in found


@pytest.mark.parametrize("words", [("-serial", "mon:stdio"), ("-nographic",)])
def test_who_talks_to_a_terminal_cannot_be_given_it_again(
    plain: CommandLine, words: tuple[str, ...]
) -> None:
    """Where that was nothing, it is nothing again."""
    assert with_words(plain, *words, stdin="/dev/null") is None
    assert "/dev/pts/3" in str(with_words(plain, *words, stdin="/dev/pts/3"))


def test_what_it_was_besides_its_words_is_looked_at_too(plain: CommandLine) -> None:
    """Its program, its surroundings, and who else may start it."""
    assert "of crosvm" in str(why(plain, program="/usr/bin/crosvm"))
    gone = "/usr/bin/qemu-system-x86_64 (deleted)"
    assert "another file" in str(why(plain, program=gone, file=(1, 3)))
    assert why(plain, differs="its net namespace is another than ours") == (
        "its net namespace is another than ours"
    )
    assert "libvirt" in str(why(plain, cgroup="/machine.slice/machine-qemu-1.scope"))
    parent = Parent("python3", 812, 7)
    assert why(plain, parent=parent) == (
        "its parent python3 (process 812) may start it again"
    )
    assert why(plain, parent=parent, vouched=True) is None
    assert why(plain, parent=parent, parent_lives=False) is None
    assert "of qemu-system" in str(why(plain, is_vmm=False))


@pytest.mark.parametrize(
    ("cgroup", "owner"),
    [
        ("/", None),
        ("/user.slice/user-1000.slice/session-3.scope", None),
        ("/user.slice/user-1.slice/user@1.service/app.slice/run-r1.scope", None),
        ("/user.slice/user-1.slice/user@1.service/app.slice/vm.service", "vm.service"),
        ("/system.slice/qemu@web.service", "systemd's qemu@web.service"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator", "libvirt"),
        ("/system.slice/docker-0a1b.scope", "a container"),
        ("/kubepods.slice/kubepods-pod1.slice/x", "a container"),
    ],
)
def test_a_cgroup_says_who_looks_after_its_processes(
    cgroup: str, owner: str | None
) -> None:
    """A login session does not; a unit, libvirt or a container does."""
    found = owner_of(cgroup)
    assert found == owner or (owner is not None and owner in str(found))


SERVER = ("qsd", "--export", "type=vhost-user-blk,addr.type=unix,addr.path=/run/d,x=y")


@pytest.mark.parametrize(
    ("chardev", "said"),
    [
        ("socket,id=d,path=/run/d,reconnect=1", None),
        ("socket,id=d,path=/run/d,reconnect-ms=200", None),
        ("socket,id=d,path=/run/d,reconnect=0", "its chardev d has no reconnect="),
        ("socket,id=d,path=/run/d", "its chardev d has no reconnect="),
        ("socket,id=d,path=/run/disk,reconnect=1", "names no socket"),
        ("socket,id=d,host=a,port=1,reconnect=1", "names no socket"),
    ],
)
def test_a_vmm_comes_back_only_where_it_was_told_to(
    chardev: str, said: str | None
) -> None:
    """And only to a socket that both name."""
    found = why_no_reconnect(SERVER, ("qemu", "-chardev", chardev, "-m", "1"))
    assert (found is None) if said is None else (said in str(found))
