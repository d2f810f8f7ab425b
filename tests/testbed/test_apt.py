# SPDX-License-Identifier: Apache-2.0
from observer.testbed.apt import Target, parse_depends, parse_targets, sources_for

# Recorded on Debian 12.
DEPENDS = """\
linux-headers-6.12.117+deb12-amd64
  Depends: linux-base
  Depends: linux-headers-6.12.117+deb12-common
 |Depends: linux-image-6.12.117+deb12-amd64
  Depends: linux-image-6.12.117+deb12-amd64-unsigned
  Depends: linux-kbuild-6.12.117+deb12
  Depends: <virtual-thing>
    real-thing
  Recommends: gcc
"""
TARGETS = """\
Packages|Debian|main|http://mirror.example/debian/|bookworm
Translations|Debian|main|http://mirror.example/debian/|bookworm
Packages|Debian|main|http://mirror.example/debian/|bookworm-updates
Packages|Debian|contrib|http://mirror.example/debian/|bookworm
Packages|Debian|main|http://mirror.example/debian-security/|bookworm-security
Packages|Node|main|http://other.example/node/|nodistro
"""
BOOKWORM = [
    Target("http://mirror.example/debian/", "bookworm"),
    Target("http://mirror.example/debian/", "bookworm-updates"),
    Target("http://mirror.example/debian-security/", "bookworm-security"),
]


def test_reads_what_a_package_depends_on() -> None:
    """Alternatives count, virtual packages and recommendations do not."""
    assert parse_depends(DEPENDS) == [
        "linux-base",
        "linux-headers-6.12.117+deb12-common",
        "linux-image-6.12.117+deb12-amd64",
        "linux-image-6.12.117+deb12-amd64-unsigned",
        "linux-kbuild-6.12.117+deb12",
    ]


def test_a_package_that_is_not_there_depends_on_nothing() -> None:
    """No output is no dependency."""
    assert parse_depends("") == []


def test_reads_debians_main_sources_only() -> None:
    """Translations, other components and other vendors are left out."""
    assert parse_targets(TARGETS) == BOOKWORM


def test_swaps_the_release_and_keeps_mirror_and_pocket() -> None:
    """The same mirrors serve the other release of Debian."""
    text = sources_for(BOOKWORM, "trixie", "/keys.gpg")

    signed = "deb [arch=amd64 signed-by=/keys.gpg]"
    assert text.splitlines() == [
        f"{signed} http://mirror.example/debian/ trixie main",
        f"{signed} http://mirror.example/debian/ trixie-updates main",
        f"{signed} http://mirror.example/debian-security/ trixie-security main",
    ]


def test_suites_by_rank_become_codenames_once() -> None:
    """`stable` and `bookworm` on one mirror are one source of the other release."""
    targets = [Target("http://m/", "stable"), Target("http://m/", "bookworm")]

    assert (
        sources_for(targets, "trixie", None)
        == "deb [arch=amd64] http://m/ trixie main\n"
    )


def test_backports_and_odd_suites_are_left_out() -> None:
    """Only a release and its security and update pockets are asked for kernels."""
    targets = [Target("http://m/", "bookworm-backports"), Target("http://m/", "/")]

    assert sources_for(targets, "trixie", None) == ""
