# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import pytest

from observer.errors import UsageError
from observer.testbed.kernel import (
    KERNELS,
    Stamp,
    fetch,
    load,
    packages_of,
    release_of,
)

# Recorded on Debian 12, cut to what matters.
DEPENDS = {
    "linux-headers-6.1.0-56-amd64": [
        "linux-headers-6.1.0-56-common",
        "linux-kbuild-6.1",
        "linux-compiler-gcc-12-x86",
    ],
    "linux-headers-6.1.0-56-cloud-amd64": [
        "linux-headers-6.1.0-56-common",
        "linux-kbuild-6.1",
        "linux-compiler-gcc-12-x86",
    ],
    "linux-headers-6.12.117+deb12-amd64": [
        "linux-base",
        "linux-headers-6.12.117+deb12-common",
        "linux-image-6.12.117+deb12-amd64",
        "linux-kbuild-6.12.117+deb12",
        "gcc-12",
    ],
}


@pytest.mark.parametrize(
    ("kernel", "depends", "release"),
    [
        ("debian-12", "linux-image-6.1.0-56-amd64", "6.1.0-56"),
        ("debian-12", "linux-image-6.12.57+deb13-amd64", None),
        ("debian-12", "linux-image-6.10.3-amd64", None),
        ("debian-13", "linux-image-6.12.57+deb13-amd64", "6.12.57+deb13"),
        ("debian-13", "linux-image-6.12.117+deb12-amd64", "6.12.117+deb12"),
        ("debian-13", "linux-image-6.1.0-56-amd64", None),
        ("debian-13", "linux-base", None),
    ],
)
def test_takes_only_its_own_series(
    kernel: str, depends: str, release: str | None
) -> None:
    """A metapackage may lead to another series: on Debian 13 it is 6.12, not 6.1."""
    assert release == release_of(KERNELS[kernel], ["linux-base", depends])


def test_gathers_images_and_headers_of_all_flavours_once() -> None:
    """What both flavours' headers share is asked for once; compilers are not."""
    releases = ["6.1.0-56-amd64", "6.1.0-56-cloud-amd64"]

    assert packages_of(DEPENDS.__getitem__, releases) == [
        "linux-image-6.1.0-56-amd64",
        "linux-image-6.1.0-56-cloud-amd64",
        "linux-headers-6.1.0-56-amd64",
        "linux-headers-6.1.0-56-common",
        "linux-kbuild-6.1",
        "linux-headers-6.1.0-56-cloud-amd64",
    ]


def test_gathers_what_belongs_to_one_exact_release() -> None:
    """Newer kernels have build programs of their own release."""
    releases = ["6.12.117+deb12-amd64"]

    assert "linux-kbuild-6.12.117+deb12" in packages_of(DEPENDS.__getitem__, releases)


def test_a_stamped_tree_needs_nothing_more(tmp_path: Path) -> None:
    """A complete tree is used as it is: no apt, no network."""
    stamp = Stamp(("6.1.0-1-amd64", "6.1.0-1-cloud-amd64"), ("a.deb",))
    (tmp_path / "debian-12").mkdir()
    (tmp_path / "debian-12/kernel.json").write_bytes(msgspec.json.encode(stamp))

    kernel = fetch("debian-12", tmp_path, pytest.fail)

    assert kernel.image == tmp_path / "debian-12/boot/vmlinuz-6.1.0-1-amd64"
    assert kernel.guest_release == "6.1.0-1-cloud-amd64"


@pytest.mark.parametrize("stamp", [b"", b"{}", b'{"releases": "all"}'])
def test_a_broken_stamp_counts_as_none(tmp_path: Path, stamp: bytes) -> None:
    """A tree that does not say what it is gets fetched again."""
    (tmp_path / "debian-12").mkdir()
    (tmp_path / "debian-12/kernel.json").write_bytes(stamp)

    assert load("debian-12", tmp_path) is None


def test_names_the_kernels_there_are(tmp_path: Path) -> None:
    """An unknown kernel is answered with the known ones."""
    with pytest.raises(UsageError, match="debian-12, debian-13"):
        fetch("debian-11", tmp_path, pytest.fail)
