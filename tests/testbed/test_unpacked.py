# SPDX-License-Identifier: Apache-2.0
import subprocess

import pytest

from observer.testbed.unpacked import nginx, unpack

CONTROL = "Package: toy\nVersion: 1\nArchitecture: all\nMaintainer: nobody\n"
CONTROL += "Description: a toy\n"


class Archives:
    """Has one package, with one file."""

    def download(self, packages, folder):
        tree = folder.parent / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(CONTROL)
        (tree / "usr").mkdir()
        (tree / "usr/toy").write_text("".join(packages))
        argv = ["dpkg-deb", "--build", str(tree), str(folder / "toy.deb")]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("works", [True, False])
def test_what_does_not_work_takes_no_place(tmp_path, works):
    """What was there before stays; nothing else is left."""
    place = tmp_path / "toy"
    place.mkdir()
    (place / "old").touch()

    took = unpack(Archives(), ["toy"], place, lambda root: works and root.exists())

    assert took == works
    assert (place / "usr/toy").exists() == works
    assert (place / "old").exists() != works
    assert list(tmp_path.iterdir()) == [place]


def test_what_is_there_is_not_fetched(tmp_path):
    """No archive is asked, and nothing is said."""
    program = tmp_path / "nginx/usr/sbin/nginx"
    program.parent.mkdir(parents=True)
    program.touch()

    assert nginx(tmp_path, pytest.fail) == program
