# SPDX-License-Identifier: Apache-2.0
from observer.testbed.apt import Target, backports_for
from observer.testbed.emulator import version_of

MIRROR = "http://mirror/debian"


def test_a_version_is_read_from_what_qemu_says():
    """Debian puts its own version behind it."""
    said = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"

    assert version_of(said) == (7, 2)
    assert version_of("QEMU emulator version 10.0.2") == (10, 0)
    assert version_of("no such program") == (0, 0)


def test_backports_are_asked_of_the_same_mirror():
    """Of the release alone: its updates and security have none."""
    targets = [
        Target(MIRROR, "bookworm"),
        Target(MIRROR, "bookworm-updates"),
        Target("http://mirror/security", "bookworm-security"),
    ]

    text = backports_for(targets, "/keys.gpg")

    assert text == (
        f"deb [arch=amd64 signed-by=/keys.gpg] {MIRROR} bookworm-backports main\n"
    )
