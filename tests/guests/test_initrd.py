# SPDX-License-Identifier: Apache-2.0
import subprocess

from observer.guests.images import initrd


def test_the_guest_loads_its_drivers_in_the_given_order(tmp_path):
    """The order is a file, since names alone do not give it."""
    archive = initrd(b"busybox", {"z.ko": b"z", "a.ko": b"a"}, {"init": b"#!"})

    subprocess.run(
        [
            *("cpio", "--extract", "--quiet", "--make-directories"),
            *("lib/modules/*", "init", "bin/busybox"),
        ],
        input=archive,
        cwd=tmp_path,
        check=True,
        timeout=10,
    )

    assert (tmp_path / "lib/modules/order").read_text() == "z.ko\na.ko\n"
    assert (tmp_path / "lib/modules/z.ko").read_bytes() == b"z"
    assert (tmp_path / "init").stat().st_mode & 0o111
