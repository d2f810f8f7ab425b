# SPDX-License-Identifier: Apache-2.0
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from observer.guests import cpio

NAMES = st.text("abcdefgh", min_size=1, max_size=40)


def _extracted(archive, folder):
    """Unpack by cpio itself, an implementation that is not ours."""
    subprocess.run(
        ["cpio", "--extract", "--quiet", "--make-directories"],
        input=archive,
        cwd=folder,
        check=True,
        timeout=10,
    )
    return folder


def _listed(archive):
    shown = subprocess.run(
        ["cpio", "--list", "--verbose", "--quiet"],
        input=archive,
        capture_output=True,
        check=True,
        timeout=10,
    )
    return shown.stdout.decode().splitlines()


def test_cpio_reads_back_what_was_written(tmp_path):
    """Names, contents of any length and the right to execute survive."""
    contents = {f"folder/{n}": bytes(range(n)) for n in range(9)}
    archive = cpio.archive(
        cpio.file(name, data, executable=len(data) == 3)
        for name, data in contents.items()
    )

    root = _extracted(archive, tmp_path)

    assert {n: (root / n).read_bytes() for n in contents} == contents
    assert (root / "folder/3").stat().st_mode & 0o777 == 0o755
    assert (root / "folder/4").stat().st_mode & 0o777 == 0o644


def test_a_device_node_needs_no_root():
    """The console the kernel opens for init is in the archive with its numbers."""
    (row,) = (
        row
        for row in _listed(cpio.archive([cpio.character_device("dev/console", 5, 1)]))
        if row.endswith("dev/console")
    )

    assert row.startswith("crw-------")
    assert "5,   1" in row


def test_a_folder_stands_once_before_what_lies_in_it():
    """The kernel makes no missing parent, and an own entry for it is not doubled."""
    archive = cpio.archive(
        [cpio.directory("a"), cpio.file("a/b/c", b""), cpio.file("a/b/d", b"")]
    )

    names = [row.split()[-1] for row in _listed(archive)]

    assert names == ["a", "a/b", "a/b/c", "a/b/d"]


@given(st.dictionaries(NAMES, st.binary(max_size=64)))
def test_the_same_entries_give_the_same_bytes(contents):
    """An image can be compared by its hash, and its parts are aligned to 4 bytes."""

    def build():
        return cpio.archive(cpio.file(name, data) for name, data in contents.items())

    assert build() == build()
    assert len(build()) % 4 == 0
